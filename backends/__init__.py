"""The two ways to answer, and the context that they read."""
