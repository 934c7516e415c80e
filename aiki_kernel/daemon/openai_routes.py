"""``/v1/*``: the OpenAI interface of the models on this machine.

Unknown parameters are ignored, as OpenAI-compatible servers do. Beyond the standard,
``top_k``, ``min_p``, ``repetition_penalty``, ``session_id``, ``backend`` and ``priority``
(``cell`` or ``curation``) are taken, and the last chunk (or the whole answer) has the field
``aiki`` with the engine's own figures. A client that goes away stops its generation within
one token; curation ends with the code ``preempted`` when a cell wants the model.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import struct
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from threading import Event
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aiki_kernel.daemon.chat_call import ChatCall
from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import (
    BadRequestError,
    error_response,
    in_thread,
    read_json,
    take,
)
from aiki_kernel.daemon.generation import Job
from aiki_kernel.daemon.wire import error_body
from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.models.chat import Finished, TextDelta, TokenLogprob

logger = logging.getLogger("aiki.daemon")


async def _chat(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    call = ChatCall.read(await read_json(request), engine)
    name, _ = await in_thread(engine.models.find, call.model)

    def produce(cancelled: Event) -> Iterator[TextDelta | Finished]:
        with engine.models.using(name, call.backend) as model:
            yield from _audited(engine, call, name, call.generate(model, cancelled))

    job = engine.queue.submit(produce, session=call.session_id, priority=call.priority)
    return Answer(engine, job, call, name)


def _audited(
    engine: Engine, call: ChatCall, model: str, events: Iterator[TextDelta | Finished]
) -> Iterator[TextDelta | Finished]:
    finished: Finished | None = None
    try:
        for event in events:
            if isinstance(event, Finished):
                finished = event
            yield event
    finally:
        usage = finished.usage if finished else None
        engine.audit.record(
            "model.serve",
            model=model,
            session_id=call.session_id or None,
            input_tokens=usage and usage.input_tokens,
            output_tokens=usage and usage.output_tokens,
            reason=finished.reason if finished else "cut",
        )


class Answer(Response):
    """The answer of one job. The status line waits for the job's first event, so that a
    model that cannot be loaded is an HTTP error and not a broken stream."""

    def __init__(self, engine: Engine, job: Job, call: ChatCall, model: str) -> None:
        super().__init__()
        self.engine = engine
        self.job = job
        self.call = call
        self.model = model
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writing = asyncio.ensure_future(self._write(scope, receive, send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.engine.queue.cancel(self.job)
            done = writing.done() and not writing.cancelled()
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        if done:
            writing.result()

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = aiter(self.job)
        try:
            first = await anext(events)
        except StopAsyncIteration:
            raise ModelError(
                f"{self.model} gave no answer: see the daemon's log.", stage="generate", status=500
            ) from None
        write = self._stream if self.call.stream else self._whole
        await write(first, events, scope, receive, send)

    async def _whole(
        self, first: Any, events: AsyncIterator[Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        pieces: list[str] = []
        tokens: list[TokenLogprob] = []
        finished: Finished | None = None
        async for event in _chain(first, events):
            if isinstance(event, TextDelta):
                pieces.append(event.text)
                tokens += event.logprobs
            else:
                finished = event
        if finished is None:
            raise ModelError(f"{self.model} stopped without an end.", stage="stream", status=500)
        message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": self._logprobs(tokens)}
        body = {
            **self._head("chat.completion"),
            "choices": [{**choice, "finish_reason": _reason(finished)}],
            "usage": _usage(finished),
            "aiki": _detail(finished),
        }
        await JSONResponse(body)(scope, receive, send)

    async def _stream(
        self, first: Any, events: AsyncIterator[Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        head = self._head("chat.completion.chunk")

        async def put(data: Any) -> None:
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            payload = f"data: {text}\n\n".encode()
            await send({"type": "http.response.body", "body": payload, "more_body": True})

        def chunk(
            delta: Mapping[str, Any],
            reason: str | None = None,
            tokens: Sequence[TokenLogprob] = (),
        ) -> dict[str, Any]:
            logprobs = self._logprobs(tokens) if tokens else None
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return {**head, "choices": [choice]}

        finished: Finished | None = None
        try:
            await put(chunk({"role": "assistant", "content": ""}))
            async for event in _chain(first, events):
                if isinstance(event, TextDelta):
                    await put(chunk({"content": event.text}, None, event.logprobs))
                else:
                    finished = event
            if finished is None:
                raise ModelError(
                    f"{self.model} stopped without an end.", stage="stream", status=500
                )
            last = chunk({}, _reason(finished))
            if self.call.include_usage:
                await put(last)
                last = {**head, "choices": [], "usage": _usage(finished)}
            await put({**last, "aiki": _detail(finished)})
        except AikiError as error:
            code = getattr(error, "code", None)
            await put(error_body(500, str(error), code=code, kind=error.kind))
        except Exception as error:
            line = f"{self.model} failed ({type(error).__name__}: {error})."
            await put(error_body(500, line.splitlines()[0], kind="model"))
            logger.exception("generation failed")
        # Not in a finally: a stream that was cancelled must not look complete.
        await put("[DONE]")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self.call.top_logprobs is None:
            return None
        content = [
            {**_token(token), "top_logprobs": [_token(other) for other in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _token(token: TokenLogprob) -> dict[str, Any]:
    """A token's text may be part of a character: its bytes are exact."""
    text = token.data.decode("utf-8", "replace")
    return {"token": text, "logprob": token.logprob, "bytes": list(token.data)}


async def _chain(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for item in rest:
        yield item


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _reason(finished: Finished) -> str:
    return "length" if finished.reason == "length" else "stop"


def _detail(finished: Finished) -> dict[str, Any]:
    return {**finished.detail, "reason": finished.reason}


def _usage(finished: Finished) -> dict[str, Any]:
    usage = finished.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


async def _models(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    installed = await in_thread(engine.models.installed)
    names = ["local", *sorted(installed), engine.settings.memory.embedder]
    return JSONResponse({"object": "list", "data": [_card(name) for name in names]})


async def _model(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    name = request.path_params["name"]
    if name != engine.settings.memory.embedder:
        await in_thread(engine.models.find, name)
    return JSONResponse(_card(name))


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "aiki"}


async def _embeddings(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    body = await read_json(request)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise BadRequestError("Field 'input' must be text or a list of texts.", param="input")
    encoding = take(body, "encoding_format", str, "float")
    if encoding not in ("float", "base64"):
        raise BadRequestError(
            "Field 'encoding_format' must be float or base64.", param="encoding_format"
        )
    name = engine.settings.memory.embedder
    asked = take(body, "model", str, "local")
    if asked not in ("local", name):
        return error_response(
            404,
            f"No embedder called {asked!r} here: this memory's is {name}.",
            code="model_not_found",
            kind="model",
            param="model",
        )
    vectors, tokens = await in_thread(engine.embed, texts)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": list(vector) if encoding == "float" else _packed(vector),
        }
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": name, "usage": usage})


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


ROUTES = [
    Route("/v1/chat/completions", _chat, methods=["POST"]),
    Route("/v1/embeddings", _embeddings, methods=["POST"]),
    Route("/v1/models", _models, methods=["GET"]),
    Route("/v1/models/{name:path}", _model, methods=["GET"]),
]
