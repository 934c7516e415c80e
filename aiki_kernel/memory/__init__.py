"""Memory: records, Qdrant stores, embedders, recall, import and export."""
