"""Learned routing: what the classifier sees, its calibrated heads, when it does not trust itself, how it is fitted."""
