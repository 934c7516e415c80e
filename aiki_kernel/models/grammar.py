"""Answers that obey a JSON schema: at each step, which tokens may come next.

The grammar engine is bought: ``llguidance`` (MIT, one 3 MB wheel with no dependency and no network)
turns a schema into an automaton over bytes and the vocabulary into a trie, and walks one along the
other in well under a millisecond, remembering lexer states. It refuses keywords that it does not
know by name. Ours is what surrounds it: the vocabulary, the bounds, and the end. A mask alone
keeps an answer *on the way* to a record; a small model can stay on the way for ever, in a text
that never closes. So the last part of the token budget is kept for the shortest way out: from then
on a closing quote or bracket is taken wherever one is allowed, and nothing that can be avoided is
opened.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.schema_cost import closing_cost

if TYPE_CHECKING:
    from aiki_kernel.models.tokenizer import Tokenizer

MAX_SCHEMA_BYTES = 64 * 1024
MAX_BUDGET = 1 << 20
# As one is used to write it, so that a model meets what it has read; and no endless spaces.
_OPTIONS: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
Floats = npt.NDArray[np.float32]


class Vocabulary:
    """The tokens of one model, as the grammar engine wants them. Made once a model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._lock = threading.Lock()
        self._made: Any = None
        self._opens: npt.NDArray[np.uint8] | None = None

    def constraint(self, schema: Mapping[str, Any], budget: int) -> Constraint:
        """Masks for one answer of at most ``budget`` tokens.

        Raises :class:`ModelError` in one line that names what cannot be had.
        """
        try:
            text = json.dumps(schema, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelError(f"The JSON schema is no JSON ({error}): correct it.") from None
        if len(text.encode()) > MAX_SCHEMA_BYTES:
            raise ModelError(
                f"The JSON schema has {len(text.encode())} bytes; {MAX_SCHEMA_BYTES} are taken: "
                "make it smaller."
            )
        reserve = closing_cost(schema)
        return Constraint(self._matcher(text), self.tokenizer, self._opening(), budget, reserve)

    def _opening(self) -> npt.NDArray[np.uint8]:
        """1 for each token that opens an object or a list, (vocabulary,)."""
        with self._lock:
            if self._opens is None:
                data = map(self.tokenizer.token_bytes, range(len(self.tokenizer)))
                opens = [b"{" in one or b"[" in one for one in data]
                self._opens = np.array(opens, np.uint8)
            return self._opens

    def _matcher(self, text: str) -> Any:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)
        matcher = LLMatcher(self._library(), grammar, log_level=0)
        if matcher.is_error():
            raise ModelError(_refusal(matcher.get_error()))
        return matcher

    def _library(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        with self._lock:
            if self._made is None:
                self._made = LLTokenizer(
                    TokenizerWrapper(_Tokens(self.tokenizer)),
                    eos_token=sorted(self.tokenizer.ends),
                )
            return self._made


class Constraint:
    """The state of one answer. Not to be shared."""

    def __init__(
        self,
        matcher: Any,
        tokenizer: Tokenizer,
        opens: npt.NDArray[np.uint8],
        budget: int,
        reserve: int,
    ) -> None:
        self._matcher, self._tokenizer, self._opens = matcher, tokenizer, opens
        self._left = min(budget, MAX_BUDGET)
        self._reserve = reserve
        self._bits = np.zeros(-(-len(tokenizer) // 32), np.int32)
        self._closers = {sign: tokenizer.encode(sign) for sign in '"}],'}
        self._in_text, self._escaped, self._depth, self._deepest = False, False, 0, 1

    def restrict(self, scores: Floats) -> Floats:
        """A copy of ``scores`` (vocabulary,) with -inf for every token that may not come."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise ModelError(_refusal(self._matcher.get_error()))
        allowed = np.unpackbits(self._bits.view(np.uint8), count=len(scores), bitorder="little")
        if self._left <= self._reserve * self._deepest:
            allowed = self._way_out(allowed)
        return np.where(allowed.view(bool), scores, np.float32(-np.inf))

    def accept(self, token: int) -> None:
        """``token`` was chosen."""
        self._matcher.consume_token(token)
        self._left -= 1
        for byte in self._tokenizer.token_bytes(token):
            self._follow(byte)

    def _follow(self, byte: int) -> None:
        if self._in_text:
            if self._escaped:
                self._escaped = False
            elif byte == 0x5C:
                self._escaped = True
            elif byte == 0x22:
                self._in_text = False
        elif byte == 0x22:
            self._in_text = True
        elif byte in b"{[":
            self._depth += 1
            self._deepest = max(self._deepest, self._depth)
        elif byte in b"}]":
            self._depth -= 1

    def _way_out(self, allowed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Only what ends something, where the grammar lets anything end."""
        ends = [number for number in self._tokenizer.ends if allowed[number]]
        signs = '"' if self._in_text else "}],"
        closing = (self._closers[sign] for sign in signs)
        for numbers in (ends, *closing):
            if numbers and all(allowed[number] for number in numbers):
                only = np.zeros_like(allowed)
                only[numbers] = 1
                return only
        if not self._in_text:
            flat = allowed & (1 - self._opens[: len(allowed)])
            if flat.any():
                return flat
        return allowed


class _Tokens:
    """What the library asks of a tokenizer. Control tokens stand behind a byte that is no UTF-8."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos_token_id = tokenizer.bos
        self.eos_token_id = min(tokenizer.ends)
        found = [tokenizer.token_bytes(number) for number in range(len(tokenizer))]
        self.special_token_ids = [number for number, data in enumerate(found) if not data]
        self.tokens = [
            data or b"\xff" + tokenizer.tokens[number].encode() for number, data in enumerate(found)
        ]

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(text if isinstance(text, str) else text.decode())


def _refusal(cause: str) -> str:
    lines = [line.strip() for line in cause.splitlines() if line.strip()]
    said = (lines or ["no reason given"])[0].replace("Unimplemented keys", "unsupported keywords")
    return f"The JSON schema cannot be followed ({said[:300]}): change that part of it."
