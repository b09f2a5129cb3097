"""Pages: chunks as a model has encoded them, kept by content on the disk and brought back into memory."""
