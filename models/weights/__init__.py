"""Weights that the package ships, each with its card and sha256."""
