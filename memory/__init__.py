"""What is remembered: corpus, chunks, stores, the index and its search."""
