"""Settings: ``AIKI_HOME/aiki.toml`` below the ``AIKI_*`` environment; paths; keys.

Nested settings are reached from the environment with two underscores:
``AIKI_MEMORY__URL``, ``AIKI_GENERATION__TEMPERATURE``. Keys never stand in
``aiki.toml``: they come from the environment or from ``keys.toml``, which must be
readable by its owner alone.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import stat
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from aiki_kernel.config_attachments import Attachments as Attachments
from aiki_kernel.config_cache import Cache as Cache
from aiki_kernel.config_curation import Curation as Curation
from aiki_kernel.config_health import Health as Health
from aiki_kernel.config_ranking import Ranking as Ranking
from aiki_kernel.config_routing import Budget as Budget
from aiki_kernel.config_routing import Card as Card
from aiki_kernel.config_routing import Consult as Consult
from aiki_kernel.config_routing import Models as Models
from aiki_kernel.config_routing import Routing as Routing
from aiki_kernel.config_routing import Section
from aiki_kernel.config_telemetry import Otel as Otel
from aiki_kernel.errors import ConfigError


class Endpoint(Section):
    """An OpenAI-compatible server. ``prices`` are USD per million tokens, if known."""

    base_url: str = Field(description="where it is, mostly with /v1 at its end")
    api_key_env: str = Field("", description="the variable that holds its key")
    models: tuple[str, ...] = Field(
        (), description="names that it offers; the first is its default"
    )
    input_price: float | None = Field(None, ge=0, description="USD per million input tokens")
    output_price: float | None = Field(None, ge=0, description="USD per million output tokens")
    provider: str = Field("", description="provider id of genai-prices, where prices are public")
    headers: dict[str, str] = Field(default_factory=dict, description="sent with each request")


class Generation(Section):
    """How answers are sampled, and how much context a message may carry."""

    temperature: float = Field(0.3, ge=0, le=2, description="0 takes the likeliest word")
    top_p: float = Field(
        0.95, gt=0, le=1, description="share of the likely words that is drawn from"
    )
    top_k: int = Field(0, ge=0, description="0 means no limit; local models only")
    min_p: float = Field(
        0.0, ge=0, le=1, description="least part of the likeliest; local models only"
    )
    repetition_penalty: float = Field(
        1.1, ge=1, le=2, description="keeps small models from running in circles; local models only"
    )
    max_tokens: int = Field(1024, gt=0, description="how long an answer may be")
    seed: int | None = Field(
        None, description="the same answer again; a local model then reads the whole prompt anew"
    )
    stop: tuple[str, ...] = Field((), description="texts that end an answer")
    context_tokens: int = Field(6000, gt=0, description="budget of history and recall, in tokens")
    system: str = Field(
        "You are AIKI, a helpful assistant inside a notebook.",
        description="what every model is told",
    )


class Timeouts(Section):
    """Seconds; each names the stage that it guards."""

    connect: float = Field(10.0, gt=0, description="until a server takes the call")
    first_token: float = Field(120.0, gt=0, description="until an answer begins")
    between_tokens: float = Field(60.0, gt=0, description="until it goes on")
    retries: int = Field(3, ge=0, le=10, description="only before the first token")


class Fusion(Section):
    """Weights of recall's ranked lists; each list is z-scored before it is weighed."""

    dense: float = Field(1.0, ge=0, description="closeness of meaning")
    window: float = Field(1.0, ge=0, description="BM25 over the exchange window and its date")
    turn: float = Field(0.4, ge=0, description="BM25 over the turn alone")
    before: int = Field(2, ge=0, le=8, description="messages before a message, in its window")
    after: int = Field(2, ge=0, le=8, description="messages after a message, in its window")
    candidates: int = Field(100, gt=0, le=2000, description="how far down each list is read")


class Memory(Curation):
    """Where memories live and how they are found."""

    url: str = Field("", description="a Qdrant server; empty means embedded")
    api_key_env: str = Field(
        "QDRANT_API_KEY", description="the variable that holds the server's key"
    )
    collection: str = Field("aiki_memories", description="its name in the store")
    embedder: str = Field("multilingual-e5-small", description="what turns text into vectors")
    user_id: str = Field(default_factory=getpass.getuser, description="whose memories")
    recall_k: int = Field(8, ge=0, le=100, description="most memories a message gets")
    recall_tokens: int = Field(400, ge=0, description="budget of recalled text, in tokens")
    relevance: float = Field(
        0.4, ge=0, le=1, description="share of the best score a memory needs to reach the model"
    )
    languages: tuple[str, ...] = Field(
        ("english", "norwegian"), description="how words are stemmed"
    )
    fusion: Fusion = Fusion()
    ranking: Ranking = Ranking()


class Compute(Section):
    """Who does the heavy arithmetic."""

    backend: Literal["auto", "numpy", "mojo", "mojo-server", "qdrant"] = Field(
        "auto", description="what searches the memory's vectors; auto chooses by size"
    )


class Server(Section):
    """The daemon's door. TCP is closed unless a port is given, and then needs a token."""

    tcp_host: str = Field("127.0.0.1", description="address of the TCP door")
    tcp_port: int = Field(0, ge=0, le=65535, description="0 is closed")
    token_env: str = Field("AIKI_DAEMON_TOKEN", description="the variable that holds the token")
    queue: int = Field(8, gt=0, description="waiting generations before a 429")
    idle_exit_s: float = Field(
        0.0, ge=0, description="stop after this long without a request; 0 never"
    )


class Local(Section):
    """The engine for models on this machine."""

    engine: Literal["auto", "mojo", "numpy"] = Field(
        "auto", description="'auto' prefers Mojo; NumPy is the slow reference"
    )
    threads: int = Field(0, ge=0, description="0 lets the engine choose")
    parallel: int = Field(4, ge=1, le=16, description="answers that are generated at once")
    keep_loaded_s: float = Field(1800.0, ge=0, description="how long an idle model stays in memory")


_BUILT_IN_ENDPOINTS = {
    "openai": Endpoint(
        base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY", provider="openai"
    ),
    "openrouter": Endpoint(
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        provider="openrouter",
    ),
}


class Settings(BaseSettings):
    """Everything that can be configured. Unknown names are refused."""

    model_config = SettingsConfigDict(
        env_prefix="AIKI_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    model: str = Field("local", description="'local', 'local/NAME' or 'ENDPOINT/MODEL'")
    persona: str = Field("default", description="who answers, where nobody else is chosen")
    persona_language: Literal["auto", "en", "no"] = Field(
        "auto", description="what a persona is told in; auto follows the message"
    )
    daemon: Literal["auto", "off"] = Field("auto", description="'off' runs the engine in-process")
    stream: Literal["auto", "live", "final", "stdout"] = Field(
        "auto", description="how answers appear in a notebook"
    )
    generation: Generation = Generation()
    timeouts: Timeouts = Timeouts()
    memory: Memory = Field(default_factory=Memory)
    compute: Compute = Compute()
    server: Server = Server()
    local: Local = Local()
    endpoints: dict[str, Endpoint] = Field({}, description="servers of models, by name")
    models: Models = Models()
    routing: Routing = Routing()
    consult: Consult = Consult()
    budget: Budget = Budget()
    cache: Cache = Cache()
    attachments: Attachments = Attachments()
    otel: Otel = Otel()
    health: Health = Health()

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint called ``name``; a user's own definition wins over a built-in one."""
        found = self.endpoints.get(name) or _BUILT_IN_ENDPOINTS.get(name)
        if found is None:
            known = ", ".join(sorted({*self.endpoints, *_BUILT_IN_ENDPOINTS, "local"}))
            raise ConfigError(
                f"No endpoint called {name!r}: known are {known}; "
                f"add [endpoints.{name}] with a base_url to aiki.toml."
            )
        return found

    def endpoint_names(self) -> list[str]:
        """All remote endpoints by name."""
        return sorted({*self.endpoints, *_BUILT_IN_ENDPOINTS})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = InitSettingsSource(settings_cls, init_kwargs=_read_toml(Paths.default().toml))
        return (init_settings, env_settings, file)


@dataclass(frozen=True)
class Paths:
    """Files under one ``AIKI_HOME``. Nothing is created until it is needed."""

    home: Path

    @classmethod
    def default(cls) -> Paths:
        """``$AIKI_HOME``, else the platform's folder for user data."""
        home = os.environ.get("AIKI_HOME")
        if home:
            return cls(Path(home).expanduser().absolute())
        import platformdirs

        return cls(Path(platformdirs.user_data_dir("aiki", appauthor=False)))

    @property
    def toml(self) -> Path:
        """Settings."""
        return self.home / "aiki.toml"

    @property
    def keys(self) -> Path:
        """Keys of providers; must have mode 0600."""
        return self.home / "keys.toml"

    @property
    def memory(self) -> Path:
        """The embedded store, its history and its index."""
        return self.home / "memory"

    @property
    def ledger(self) -> Path:
        """One row for each model call, and labels."""
        return self.home / "ledger.sqlite"

    @property
    def recollections(self) -> Path:
        """What each answer recalled and why."""
        return self.home / "recollections.sqlite"

    @property
    def sessions(self) -> Path:
        """Names of sessions, what is stale, and what is kept."""
        return self.home / "sessions.sqlite"

    @property
    def spool(self) -> Path:
        """Turns that wait for the store."""
        return self.home / "spool"

    @property
    def models(self) -> Path:
        """GGUF files."""
        return self.home / "models"

    @property
    def responses(self) -> Path:
        """Answers to identical requests."""
        return self.home / "cache" / "responses.sqlite"

    @property
    def log(self) -> Path:
        """Logs of the daemons and of served models."""
        return self.home / "log"

    @property
    def runtime(self) -> Path:
        """A private folder (0700) for sockets and locks: short, local, owned by this user.

        Raises :class:`ConfigError` when the folder exists and belongs to somebody else.
        """
        # A cron job has no XDG_RUNTIME_DIR and must find the same daemon as a login shell.
        base = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        if os.access(base, os.W_OK) and len(base) < 60:
            folder = Path(base) / "aiki"
        else:
            folder = Path(tempfile.gettempdir())
            if len(str(folder)) > 60:
                folder = Path("/tmp")  # noqa: S108 - ownership and mode are checked below
            folder = folder / f"aiki-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise ConfigError(
                f"{folder} is not a folder of yours: remove it or set XDG_RUNTIME_DIR."
            )
        if info.st_mode & 0o077:
            folder.chmod(0o700)
        return folder

    @property
    def name(self) -> str:
        """A short name for this home: sockets and locks are called after it."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.home))).hexdigest()[:16]

    @property
    def socket(self) -> Path:
        """Where the memory daemon listens."""
        return self.runtime / f"{self.name}.sock"

    @property
    def lock(self) -> Path:
        """Held by the memory daemon while it runs."""
        return self.runtime / f"{self.name}.lock"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}): correct that line.") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): check its permissions."
        ) from None


def load(**overrides: Any) -> Settings:
    """Read settings afresh. Raises :class:`ConfigError` with one line per first fault."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        variable = f"AIKI_{where.upper().replace('.', '__')}"
        raise ConfigError(
            f"Setting {where!r} is wrong ({first['msg']}): "
            f"correct it in {Paths.default().toml} or in {variable}."
        ) from None


def api_key(variable: str) -> SecretStr | None:
    """The key called ``variable``: from the environment, else from ``keys.toml`` (0600).

    Raises :class:`ConfigError` when the file can be read by others.
    """
    if not variable:
        return None
    value = os.environ.get(variable)
    if value:
        return SecretStr(value)
    path = Paths.default().keys
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if mode & 0o077:
        raise ConfigError(f"{path} can be read by others: run `chmod 600 {path}`.")
    found = _read_toml(path).get(variable)
    return SecretStr(str(found)) if found else None
