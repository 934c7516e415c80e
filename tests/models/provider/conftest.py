from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fault_server import FaultServer

from aiki_kernel.config import load
from aiki_kernel.errors import AikiError
from aiki_kernel.models.chat import ChatMessage, ChatRequest, Finished, TextDelta
from aiki_kernel.models.provider import Provider

QUESTION = (ChatMessage("system", "Be kind."), ChatMessage("user", "Hei på deg, hvordan går det?"))


@dataclass
class Answer:
    """What a stream gave before it ended, and how it ended."""

    pieces: list[str] = field(default_factory=list)
    finished: Finished | None = None
    error: AikiError | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Line:
    """A provider that talks to the scripted server under the endpoint name ``fault``."""

    provider: Provider
    server: FaultServer

    def request(self, model: str, **more: object) -> ChatRequest:
        name = model if model == "local" or "/" in model else f"fault/{model}"
        return ChatRequest(name, QUESTION, **more)  # type: ignore[arg-type]

    async def ask(self, model: str, **more: object) -> Answer:
        answer = Answer()
        try:
            async for event in self.provider.stream(self.request(model, **more)):
                if isinstance(event, TextDelta):
                    answer.pieces.append(event.text)
                else:
                    answer.finished = event
        except AikiError as error:
            answer.error = error
        return answer


@pytest.fixture
async def line(
    aiki_home: Path, fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Line]:
    for name, value in fault_server.environment().items():
        monkeypatch.setenv(name, value)
    importlib.import_module("openai.resources.chat")  # its second is not the server's
    timeouts = {"connect": 1.0, "first_token": 1.2, "between_tokens": 0.6, "retries": 2}
    provider = Provider(load(timeouts=timeouts), backoff_s=0.01)
    yield Line(provider, fault_server)
    await provider.aclose()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the endpoint ``fault`` somewhere else, without a key."""

    def point(base_url: str) -> None:
        monkeypatch.setenv("AIKI_ENDPOINTS", f'{{"fault": {{"base_url": "{base_url}"}}}}')

    return point
