"""A model on this machine: file in, streamed answers out.

Puts together what is one idea each elsewhere: the file, its tokenizer and template, an engine,
sampling, sessions. The vocabulary is built from the file each time, which takes as long as reading
a stored tokenizer back. The cache folder holds the file's content hash, which proves that a known
model is what its name says, and under that hash the weights as the engine reads them, which the
next load maps instead of computing them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aiki_kernel.errors import ModelError
from aiki_kernel.models.bitnet import chat_template
from aiki_kernel.models.chat import ChatMessage, Finished, TextDelta, TokenLogprob, Usage
from aiki_kernel.models.engine import CancelledError, LanguageModel
from aiki_kernel.models.engines import choose
from aiki_kernel.models.fingerprint import fingerprint
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.grammar import Vocabulary
from aiki_kernel.models.sampling import Picked, Sampler, StopText
from aiki_kernel.models.sessions import Session, Sessions
from aiki_kernel.models.shape import BITNET, Shape
from aiki_kernel.models.template import ChatTemplate
from aiki_kernel.models.tokenizer import TextStream, Tokenizer
from aiki_kernel.models.weights import KNOWN

PROVIDER = "local"


class LocalModel:
    """Ready to answer. One instance may serve several threads."""

    def __init__(
        self,
        name: str,
        engine: LanguageModel,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        *,
        sha256: str = "",
        load_s: float = 0.0,
        note: str = "",
        quantisation: str = "",
    ) -> None:
        self.name = name
        self.engine = engine
        self.tokenizer = tokenizer
        self.template = template
        self.sha256 = sha256
        self.load_s = load_s
        self.note = note  # why this is not the engine that was preferred
        self.quantisation = quantisation
        self.sessions = Sessions()
        self.words = Vocabulary(tokenizer)

    @classmethod
    def load(cls, path: Path, *, cache: Path, engine: str = "auto", threads: int = 0) -> LocalModel:
        """Read a GGUF file. ``cache`` is a folder for what is derived; it may be unwritable.

        Raises :class:`ModelError` with one line.
        """
        begun = time.perf_counter()
        name = _name_of(path)
        with GGUF(path) as file:
            digest = fingerprint(path, cache)
            known = KNOWN.get(name)
            if known is not None and digest != known.sha256:
                raise ModelError(
                    f"{path.name} is damaged (its sha256 is not that of {name}): delete it and "
                    f"run `aiki model pull {name}`."
                )
            tokenizer = Tokenizer(file)
            template = _template_of(file, tokenizer, name)
            chosen = choose(file, digest, cache, engine=engine, threads=threads)
            language_model = chosen.model
            kind = file.quantisation()
            if len(tokenizer) != language_model.vocabulary:
                raise ModelError(
                    f"{path.name} has {len(tokenizer)} tokens and "
                    f"{language_model.vocabulary} embeddings: fetch the model again."
                )
        return cls(
            name,
            language_model,
            tokenizer,
            template,
            sha256=digest,
            load_s=time.perf_counter() - begun,
            note=chosen.note,
            quantisation=kind,
        )

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together."""
        return self.engine.context_length

    @property
    def engine_name(self) -> str:
        return self.engine.engine_name

    def prompt_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        """The conversation as the model reads it. Raises :class:`ModelError`."""
        if self.template is None:
            raise ModelError(
                f"{self.name} has no chat template (a base model): choose an instruct model."
            )
        return self.tokenizer.encode_parts(self.template.render(messages))

    def logprobs(self, ids: Sequence[int]) -> npt.NDArray[np.float64]:
        """Log-probabilities of the token after ``ids``, natural log, (vocabulary,)."""
        scores = self.engine.forward(ids, self.engine.new_state(), threading.Event())
        return log_softmax(scores)

    def generate(
        self,
        messages: Sequence[ChatMessage],
        *,
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        max_tokens: int = 1024,
        seed: int | None = None,
        stop: Sequence[str] = (),
        cancelled: threading.Event | None = None,
        session_id: str = "",
        repetition_penalty: float = 1.0,
        min_p: float = 0.0,
        top_logprobs: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Iterator[TextDelta | Finished]:
        """Answer: pieces of text, then one :class:`Finished` (``stop``, ``length``, ``cancelled``).

        Blocks while it computes; run it in a thread. Once ``cancelled`` is set it ends within a
        layer while reading the prompt and within a token while answering. Faults of the request
        are raised here, before the first piece, as :class:`ModelError`. ``session_id`` names the
        conversation whose keys and values are kept for its next turn.
        With ``schema`` the answer is a record of that JSON schema, unless its end is cut
        (``length``).
        """
        if max_tokens < 1:
            raise ModelError(f"max_tokens is {max_tokens}: it must be at least 1.")
        ids = self.prompt_ids(messages)
        if len(ids) >= self.context_length:
            raise ModelError(
                f"The message and its context are {len(ids)} tokens and {self.name} takes "
                f"{self.context_length}: shorten it, start a new session, or lower "
                "generation.context_tokens."
            )
        budget = min(max_tokens, self.context_length - len(ids))
        sampler = Sampler(
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            top_logprobs=top_logprobs,
            restriction=None if schema is None else self.words.constraint(schema, budget),
        )
        return self._answer(
            ids,
            sampler,
            StopText(stop),
            budget,
            cancelled or threading.Event(),
            session_id,
        )

    def _answer(
        self,
        ids: list[int],
        sampler: Sampler,
        stops: StopText,
        budget: int,
        cancelled: threading.Event,
        session_id: str,
    ) -> Iterator[TextDelta | Finished]:
        begun = time.perf_counter()
        session = self.sessions.take(session_id, ids, self.engine.new_state, fresh=sampler.seeded)
        reused = session.state.length
        run = _Run(self, session, sampler, cancelled, budget)
        stream = TextStream(self.tokenizer)
        try:
            for token in run.tokens(ids[reused:], begun):
                text = stops.feed(stream.feed(token))
                if text or sampler.picked is not None:
                    yield TextDelta(text, self._logprobs_of(sampler.picked))
                if stops.found:
                    run.reason = "stop"
                    break
            if rest := stops.rest():
                yield TextDelta(rest)
        finally:
            self.sessions.give_back(session_id, session)
        yield Finished(
            reason=run.reason,
            usage=Usage(len(ids), run.count, cached_tokens=reused),
            model=self.name,
            provider=PROVIDER,
            detail={
                "engine": self.engine_name,
                "quantisation": self.quantisation,
                "threads": self.engine.threads,
                "tokens_per_second": run.tokens_per_second(),
                "prefill_s": run.prefill_s,
                "reused_tokens": reused,
                "prompt_tokens": len(ids),
                **({"notes": [self.note]} if self.note else {}),
            },
        )

    def _logprobs_of(self, picked: Picked | None) -> tuple[TokenLogprob, ...]:
        if picked is None:
            return ()
        data = self.tokenizer.shown_bytes
        top = tuple(TokenLogprob(data(number), logprob) for number, logprob in picked.top)
        return (TokenLogprob(data(picked.token), picked.logprob, top),)


class _Run:
    """The tokens of one answer, and how fast they came."""

    def __init__(
        self,
        model: LocalModel,
        session: Session,
        sampler: Sampler,
        cancelled: threading.Event,
        budget: int,
    ) -> None:
        self._model, self._session, self._sampler = model, session, sampler
        self._cancelled, self._budget = cancelled, budget
        self.reason = "length"
        self.count = 0
        self.prefill_s = 0.0
        self._decode_s = 0.0

    def tokens(self, prompt: Sequence[int], begun: float) -> Iterator[int]:
        """Compute ``prompt``, then yield what the sampler picks until the answer ends."""
        forward, state = self._model.engine.forward, self._session.state
        try:
            scores = forward(prompt, state, self._cancelled)
            self.prefill_s = time.perf_counter() - begun
            while True:
                if self._cancelled.is_set():
                    raise CancelledError
                token = self._sampler.pick(scores)
                if token in self._model.tokenizer.ends:
                    self.reason = "stop"
                    return
                self.count += 1
                yield token
                if self.count >= self._budget:
                    return
                started = time.perf_counter()
                self._session.append(token)
                scores = forward([token], state, self._cancelled)
                self._decode_s += time.perf_counter() - started
        except CancelledError:
            self.reason = "cancelled"

    def tokens_per_second(self) -> float | None:
        """Of the answer alone, without the prompt; None when there was no second token."""
        return (self.count - 1) / self._decode_s if self._decode_s and self.count > 1 else None


def log_softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Natural log of the softmax, in float64."""
    shifted = scores.astype(np.float64) - float(scores.max())
    logs: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return logs


def _name_of(path: Path) -> str:
    return next((name for name, known in KNOWN.items() if known.file_name == path.name), path.stem)


def _template_of(file: GGUF, tokenizer: Tokenizer, name: str) -> ChatTemplate | None:
    key = "tokenizer.chat_template"
    source = file.get(key, str) if key in file.metadata else None
    if Shape.of(file).architecture == BITNET:
        source = chat_template(source)
    if source is None:
        return None
    bos = "" if tokenizer.bos is None else tokenizer.tokens[tokenizer.bos]
    eos = "" if tokenizer.eos is None else tokenizer.tokens[tokenizer.eos]
    return ChatTemplate(source, tuple(tokenizer.controls), bos=bos, eos=eos, name=name)
