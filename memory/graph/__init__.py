"""What the texts of a corpus name, and what follows from two of them naming the same thing."""
