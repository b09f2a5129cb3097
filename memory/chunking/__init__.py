"""Documents to chunks. The door is chunk_document."""

from selfroute.memory.chunking.chunker import ChunkedDocument, chunk_document
from selfroute.memory.chunking.pieces import DEFAULT_POLICY, LIMIT_TOKENS, Policy

__all__ = ["DEFAULT_POLICY", "LIMIT_TOKENS", "ChunkedDocument", "Policy", "chunk_document"]
