"""Policies: one way of choosing a route per file."""
