"""Heavy arithmetic: vector search, encoders and language models behind one protocol."""
