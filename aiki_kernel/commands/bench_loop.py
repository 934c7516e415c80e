"""The loop's own time for one message: real store, real embedder, a model that answers at once."""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.aiki import Aiki
from aiki_kernel.commands.progress import Step
from aiki_kernel.config import Endpoint, Paths, Settings
from aiki_kernel.memory import embedders
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.mind.events import Completed, Recalled, Remembered

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "bench"
_WARM = 5
_STEP = 500
_SYLLABLES = "ba de fi go hu ka le mi no pu ra se ti vo ny sku tre blå ør å".split()  # noqa: SIM905
_ANSWER = "Noted; the figures of last week are in the second table of the report."


class TimedEmbedder:
    """An embedder that adds up its own seconds. While ``filling`` it draws vectors instead:
    what ten thousand memories mean does not change how long a search among them takes."""

    def __init__(self, inner: embedders.Embedder) -> None:
        self.id, self.dimension = inner.id, inner.dimension
        self.seconds = 0.0
        self.filling = False
        self._inner = inner
        self._random = np.random.default_rng(7)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.filling:
            drawn = self._random.standard_normal((len(texts), self.dimension), np.float32)
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            return drawn
        began = time.perf_counter()
        found = self._inner.embed_documents(texts)
        self.seconds += time.perf_counter() - began
        return found

    def embed_query(self, text: str) -> NDArray[np.float32]:
        began = time.perf_counter()
        found = self._inner.embed_query(text)
        self.seconds += time.perf_counter() - began
        return found


def measure(settings: Settings, memories: int, messages: int, step: Step) -> dict[str, Any]:
    """Milliseconds of each stage, p50 and p95.

    *own time* is everything from the message to the durable memory but embedding and
    generation; *to the answer* and *remember* are its two parts.
    """
    timed = TimedEmbedder(embedders.embedder(settings.memory.embedder))
    embedders.EMBEDDERS[_NAME] = lambda: timed
    words = _Words()
    try:
        with tempfile.TemporaryDirectory(prefix="aiki-bench-") as folder, _server() as url:
            mine = settings.model_copy(
                update={
                    "model": f"{_NAME}/instant",
                    "daemon": "off",
                    "endpoints": {_NAME: Endpoint(base_url=url, input_price=1, output_price=1)},
                    "memory": settings.memory.model_copy(update={"url": "", "embedder": _NAME}),
                }
            )
            paths = Paths(Path(folder))
            total = memories + messages + _WARM
            _fill(mine, paths, timed, memories, words, lambda done: step(done, total))
            with Aiki(mine, paths=paths) as aiki:
                rows = []
                for number in range(messages + _WARM):
                    row = aiki.run(_one(aiki, words.sentence(12), timed))
                    if number >= _WARM:
                        rows.append(row)
                    step(memories + number + 1, total)
    finally:
        del embedders.EMBEDDERS[_NAME]
    stages = {name: _quantiles([row[name] for row in rows]) for name in rows[0] if name[0] != "_"}
    return {
        "memories": memories,
        "messages": messages,
        "embedder": timed.id,
        "stages": stages,
        "hits_per_message": sum(row["_hits"] for row in rows) / len(rows),
        "remembered": sum(row["_remembered"] for row in rows),
    }


async def _one(aiki: Aiki, text: str, timed: TimedEmbedder) -> dict[str, float]:
    """One message through the loop; seconds of its stages."""
    row: dict[str, float] = {"_hits": 0.0, "_remembered": 0.0}
    before = timed.seconds
    began = time.perf_counter()
    asked = answered = generated = 0.0
    async for event in aiki.stream(text):
        at = time.perf_counter()
        if isinstance(event, Recalled):
            row["_hits"] = float(len(event.hits))
            row["recall"] = event.seconds - (timed.seconds - before)
        elif isinstance(event, Completed):
            answered, asked = at - began, timed.seconds - before
            generated = event.trace.latencies().get("generate", 0.0)
        elif isinstance(event, Remembered):
            row["_remembered"] = float(bool(event.ids) and not event.spooled)
    ended = time.perf_counter() - began
    embedded = timed.seconds - before
    row["to the answer"] = answered - asked - generated
    row["remember"] = ended - answered - (embedded - asked)
    row["own time"] = row["to the answer"] + row["remember"]
    row["embedding (not in own time)"] = embedded
    row["generation (not in own time)"] = generated
    return row


def _fill(
    settings: Settings,
    paths: Paths,
    timed: TimedEmbedder,
    memories: int,
    words: _Words,
    done: Any,
) -> None:
    scope = Scope(settings.memory.user_id)
    timed.filling = True
    service = MemoryService(settings, paths)
    try:
        for start in range(0, memories, _STEP):
            count = min(_STEP, memories - start)
            service.add_many([Draft(words.sentence(25), scope) for _ in range(count)])
            done(start + count)
    finally:
        service.close()
        timed.filling = False


class _Words:
    """Sentences whose words are as unevenly frequent as those of real ones (Zipf's law)."""

    def __init__(self, size: int = 5000) -> None:
        self._random = random.Random(7)  # noqa: S311 - the same text each time
        syllables = _SYLLABLES
        self._words = ["".join(self._random.choices(syllables, k=3)) for _ in range(size)]
        self._weights = [1.0 / (rank + 3) for rank in range(size)]

    def sentence(self, length: int) -> str:
        return " ".join(self._random.choices(self._words, self._weights, k=length))


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.quantile(np.asarray(seconds), (0.5, 0.95)) * 1000.0
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}


@contextmanager
def _server() -> Iterator[str]:
    """An OpenAI-compatible endpoint on loopback that streams one fixed answer at once."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="bench-model", daemon=True).start()
    start = asyncio.start_server(_serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    import json

    chunk: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 0}
    chunk["model"] = "instant"
    usage = {"prompt_tokens": 100, "completion_tokens": 15, "total_tokens": 115}
    steps = (
        {"choices": [{"index": 0, "delta": {"content": _ANSWER}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    )
    body = "".join(f"data: {json.dumps({**chunk, **step})}\n\n" for step in steps)
    data = f"{body}data: [DONE]\n\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(data)}"
    try:
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(
                (
                    int(line[15:])
                    for line in request.split("\r\n")
                    if line[:15] == "content-length:"
                ),
                0,
            )
            await reader.readexactly(length)
            writer.write(f"{head}\r\n\r\n".encode() + data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()  # the client has gone
