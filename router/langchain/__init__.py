"""langchain-core adapters: embeddings, vector store, retriever, tool, runnable."""
