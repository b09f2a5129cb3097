"""The knowledge graph: facts that files state, edges resolved from them, relations that questions ask for."""
