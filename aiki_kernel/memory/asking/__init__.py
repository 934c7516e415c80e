"""Asking the memory in plain words: what a question says of time, people and kinds."""
