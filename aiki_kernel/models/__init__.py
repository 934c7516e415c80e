"""Language models: catalogue and prices, the OpenAI-compatible provider, GGUF files and engines."""
