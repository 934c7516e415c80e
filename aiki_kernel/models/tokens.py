"""How many tokens a text has, about, without any tokenizer."""

from __future__ import annotations


def estimate(text: str) -> int:
    return (len(text.encode()) + 3) // 4
