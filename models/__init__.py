"""What computes: lexing, tokenizer, embedders, readers, weights."""
