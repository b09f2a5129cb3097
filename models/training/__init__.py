"""The scripts that made the shipped weights."""
