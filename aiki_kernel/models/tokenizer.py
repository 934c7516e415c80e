"""Tokens from the vocabulary and the merges that a GGUF file carries.

Byte-level BPE (``tokenizer.ggml.model`` = ``gpt2``) through the ``tokenizers`` library. How text
is cut before merging is named by ``tokenizer.ggml.pre``; the patterns are those of the models'
own ``tokenizer.json``.

Control tokens (``<|im_end|>`` and its kind) are *not in the library's vocabulary at all*: no text
of a user can become one, whatever it contains. They enter only as parts of a rendered template
that are marked as such (:class:`~aiki_kernel.models.template.Part`).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from aiki_kernel.errors import ModelError
from aiki_kernel.models.gguf import GGUF, StringArray
from aiki_kernel.models.template import Part

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# pre-tokenizer -> the pattern that cuts text, or None where byte-level BPE's own pattern is used
_PATTERNS: dict[str, str | None] = {
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
}
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "gpt2": "gpt-2"}
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_END_NAMES = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>")
# Vocabularies are trained on text, so rare control bytes and unassigned planes may be missing;
# such a byte is left out, as the models' own tokenizers do. Without these, text would be lost.
_NEEDED_BYTES = {0x0A, *range(0x20, 0x7F), *range(0x80, 0xC0)}


class Tokenizer:
    """Text to token ids and back, for one model file."""

    def __init__(self, file: GGUF) -> None:
        """Build from the open ``file``. Raises :class:`ModelError` with one line."""
        self._file_name = file.path.name
        self.tokens = _strings(file, "tokenizer.ggml.tokens")
        self._kinds = self._read_kinds(file)
        self._ids = {text: number for number, text in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            raise ModelError(f"{self._file_name} has a token twice: fetch the model again.")
        self.controls: dict[str, int] = {
            text: number
            for number, (text, kind) in enumerate(zip(self.tokens, self._kinds, strict=True))
            if text and (kind == _CONTROL or (kind == _USER_DEFINED and "<|" in text))
        }
        self.bos = self._special(file, "bos")
        self.eos = self._special(file, "eos")
        named = (self._special(file, key) for key in ("eos", "eot", "eom"))
        known = (self.controls.get(name) for name in _END_NAMES)
        self.ends = frozenset(number for number in (*named, *known) if number is not None)
        self.adds_bos = bool(file.get("tokenizer.ggml.add_bos_token", bool, False))
        self._bytes = self._byte_table()
        self._library = self._build(file)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Plain text to ids. No control token can come out."""
        return list(self._library.encode(text, add_special_tokens=False).ids) if text else []

    def encode_parts(self, parts: Iterable[Part]) -> list[int]:
        """A rendered template to ids; begins with BOS where the model asks for it."""
        ids: list[int] = []
        for part in parts:
            if part.control:
                ids.append(self.controls[part.text])
            else:
                ids.extend(self.encode(part.text))
        if self.adds_bos and self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text; control tokens are left out, and so is half a character at the end."""
        stream = TextStream(self)
        return "".join(map(stream.feed, ids))

    def token_bytes(self, number: int) -> bytes:
        """What a token stands for in UTF-8; nothing for a control token."""
        return self._bytes[number]

    def shown_bytes(self, number: int) -> bytes:
        """What a token is called where tokens are listed: a control token by its name."""
        return self._bytes[number] or self.tokens[number].encode()

    # -- construction ----------------------------------------------------------------------

    def _read_kinds(self, file: GGUF) -> list[int]:
        kinds = file.metadata.get("tokenizer.ggml.token_type")
        if kinds is None:
            return [_NORMAL] * len(self.tokens)
        if not isinstance(kinds, np.ndarray) or len(kinds) != len(self.tokens):
            raise ModelError(
                f"{self._file_name} has token types that do not fit its tokens: fetch it again."
            )
        return [int(kind) for kind in kinds]

    def _special(self, file: GGUF, name: str) -> int | None:
        key = f"tokenizer.ggml.{name}_token_id"
        if key not in file.metadata:
            return None
        number = int(file.get(key, int))
        if not 0 <= number < len(self.tokens):
            raise ModelError(f"{self._file_name} names a token {number} that it does not have.")
        return number

    def _byte_table(self) -> list[bytes]:
        alphabet = {sign: byte for byte, sign in enumerate(byte_signs())}
        table = []
        for text, kind in zip(self.tokens, self._kinds, strict=True):
            if kind == _USER_DEFINED and text not in self.controls:
                table.append(text.encode())
            elif kind == _NORMAL:
                try:
                    table.append(bytes([alphabet[sign] for sign in text]))
                except KeyError:
                    table.append(text.encode())
            else:
                table.append(b"")
        return table

    def _build(self, file: GGUF) -> Any:
        from tokenizers import AddedToken, Regex, models, pre_tokenizers
        from tokenizers import Tokenizer as Library

        kind = file.get("tokenizer.ggml.model", str)
        if kind != "gpt2":
            raise ModelError(
                f"{self._file_name} has a {kind!r} vocabulary; byte-level BPE ('gpt2') can be "
                "read here: choose another file."
            )
        stated = file.get("tokenizer.ggml.pre", str, self._unstated_pre())
        pre = _ALIASES.get(stated, stated)
        if pre not in _PATTERNS:
            raise ModelError(
                f"{self._file_name} cuts text in the way {stated!r}, which is not known here "
                f"({', '.join(_PATTERNS)}): choose another file."
            )
        vocabulary = {
            text: number
            for text, number in self._ids.items()
            if text not in self.controls and self._kinds[number] == _NORMAL
        }
        missing = [
            byte
            for byte, sign in enumerate(byte_signs())
            if sign not in vocabulary and byte in _NEEDED_BYTES
        ]
        if missing:
            raise ModelError(
                f"{self._file_name} has no token for the byte {missing[0]} and {len(missing) - 1} "
                "others, so that text would be lost: choose another file."
            )
        merges = self._merges(file, vocabulary)
        try:
            library = Library(
                models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe")
            )
        except Exception as error:
            # The library raises bare Exception for a vocabulary it will not take.
            raise ModelError(
                f"{self._file_name} has an unusable vocabulary ({error}): fetch it again."
            ) from None
        pattern = _PATTERNS[pre]
        steps: list[Any] = []
        if pre == "smollm":
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        if pattern is not None:
            steps.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
        library.pre_tokenizer = pre_tokenizers.Sequence(steps)
        return self._with_user_defined(library, AddedToken)

    def _unstated_pre(self) -> str | None:
        """Microsoft's BitNet files leave out how text is cut; their vocabulary is Llama 3's."""
        return "llama-bpe" if "<|eot_id|>" in self.controls else None

    def _with_user_defined(self, library: Any, added: Any) -> Any:
        """Whole-text tokens such as runs of spaces, numbered as the file numbers them."""
        wanted = [
            (number, text)
            for number, (text, kind) in enumerate(zip(self.tokens, self._kinds, strict=True))
            if kind == _USER_DEFINED and text and text not in self.controls
        ]
        if not wanted:
            return library
        # The library numbers what it does not know by itself, so the numbers go in by its file.
        import json

        stated = json.loads(library.to_str())
        stated["added_tokens"] = [
            {
                "id": number,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": False,
            }
            for number, text in wanted
        ]
        stated["model"]["vocab"].update({text: number for number, text in wanted})
        rebuilt = type(library).from_str(json.dumps(stated))
        if any(rebuilt.token_to_id(text) != number for number, text in wanted):
            raise ModelError(f"{self._file_name} numbers its added tokens in an unusable way.")
        return rebuilt

    def _merges(self, file: GGUF, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
        merges = []
        for text in _strings(file, "tokenizer.ggml.merges"):
            left, _, right = text.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise ModelError(
                    f"{self._file_name} merges tokens that it does not have ({text[:40]!r}): "
                    "fetch the model again."
                )
            merges.append((left, right))
        return merges


class TextStream:
    """Token after token to text, holding back bytes until a character is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, number: int) -> str:
        """The characters that ``number`` completes; often none."""
        return self._decoder.decode(self._tokenizer.token_bytes(number))


def _strings(file: GGUF, key: str) -> list[str]:
    found = file.metadata.get(key)
    if not isinstance(found, StringArray):
        raise ModelError(f"{file.path.name} lacks {key!r}: this model cannot be run here.")
    return found.read()


def byte_signs() -> list[str]:
    """The sign that byte-level BPE writes for each byte: itself where it prints, else moved up."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    signs, moved = [], 0x100
    for byte in range(0x100):
        if byte in printable:
            signs.append(chr(byte))
        else:
            signs.append(chr(moved))
            moved += 1
    return signs
