"""Evaluating routing in batch: each route is run once per case, and policies are replayed on what came of it."""
