"""A home with a cheap and a smart model, both on the scripted server, and an ``Aiki`` in it."""

from __future__ import annotations

from pathlib import Path

from fault_server import FaultServer

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.mind.events import Event

TOML = """
model = "auto"
daemon = "off"
[routing]
router = "{router}"
smart = ["test/smart"]
cheap = ["test/cheap"]
standard = []
local = []
{routing}
[endpoints.test]
base_url = "{url}"
[models.cards."test/smart"]
tier = "smart"
input_price = 10.0
output_price = 50.0
cache_read_price = 1.0
[models.cards."test/cheap"]
tier = "cheap"
input_price = 1.0
output_price = 5.0
cache_read_price = 0.1
[timeouts]
first_token = 3
between_tokens = 1
retries = 0
[memory]
embedder = "wordllama"
"""


def aiki_of(home: Path, server: FaultServer, router: str, routing: str = "") -> Aiki:
    text = TOML.format(url=server.base_url, router=router, routing=routing)
    (home / "aiki.toml").write_text(text, "utf-8")
    return Aiki(load())


async def events_of(aiki: Aiki, text: str, **options: object) -> list[Event]:
    return [event async for event in aiki.stream(text, **options)]


def models_asked(server: FaultServer) -> list[str]:
    return [str(request.body["model"]) for request in server.requests]
