"""The loop: recall, route, generate, remember. Knows neither Jupyter nor Qdrant nor Mojo."""
