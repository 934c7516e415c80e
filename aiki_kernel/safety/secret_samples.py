"""Made-up secrets in the formats of their issuers, drawn from a seed: for benches and tests.

None of them is anybody's: the digits and letters are drawn anew each time, and only check
digits, prefixes, lengths and alphabets are as the issuers make them.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from aiki_kernel.safety.numbers import is_identity, luhn

_ALNUM = string.ascii_letters + string.digits
_URL = _ALNUM + "-_"
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class Sample:
    """A text that holds ``secret``. ``kind`` is who makes such."""

    kind: str
    secret: str
    text: str


def samples(count: int, seed: int = 6) -> list[Sample]:
    """``count`` samples, every kind in turn, each in a sentence or a line of its own."""
    chance = random.Random(seed)  # noqa: S311 - made up on purpose, and the same each time
    kinds = list(_MAKERS.items())
    made = []
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        given = make(chance)
        secret, line = given if isinstance(given, tuple) else (given, "")
        frame = chance.choice(_FRAMES)
        text = frame.format(line) if line else frame.format(secret)
        made.append(Sample(kind, secret, text))
    return made


_FRAMES = (
    "{}",
    "Remember this for later: {}",
    "Nøkkelen er «{}», ikke mist den.",
    "Kari wrote: please use {} until Friday, then change it.",
    "Here is what you asked for:\n\n```\n{}\n```\n\nKeep it safe.",
    'The configuration says "{}" and nothing else.',
    "1. open the page 2. paste {} 3. press enter",
    "Jeg limer inn {} her. Kan du forklare hva det er?",
)


def _of(chance: random.Random, alphabet: str, length: int) -> str:
    """Drawn, with at least one digit, as any real one of this length has."""
    while True:
        made = "".join(chance.choices(alphabet, k=length))
        if any(letter.isdigit() for letter in made):
            return made


def _prefixed(prefix: str, alphabet: str, length: int) -> Callable[[random.Random], str]:
    return lambda chance: prefix + _of(chance, alphabet, length)


def _pem(kind: str, size: int) -> Callable[[random.Random], str]:
    def make(chance: random.Random) -> str:
        body = base64.b64encode(chance.randbytes(size)).decode()
        lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
        return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"

    return make


def _jwt(chance: random.Random) -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    head = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    body = json.dumps({"sub": str(chance.randrange(10**9)), "iat": chance.randrange(10**9)})
    return f"{part(head)}.{part(body.encode())}.{part(chance.randbytes(32))}"


def _card(
    *prefixes: str, size: int = 16, groups: tuple[int, ...] = (4, 4, 4, 4)
) -> Callable[..., str]:
    def make(chance: random.Random) -> str:
        begin = chance.choice(prefixes)
        body = begin + "".join(chance.choices(string.digits, k=size - 1 - len(begin)))
        whole = next(body + last for last in string.digits if luhn(body + last))
        mark = chance.choice(["", " ", "-"])
        pieces, at = [], 0
        for length in groups:
            pieces.append(whole[at : at + length])
            at += length
        return mark.join(pieces)

    return make


def _identity(chance: random.Random) -> str:
    while True:
        date = f"{chance.randint(1, 28):02d}{chance.randint(1, 12):02d}{chance.randint(0, 99):02d}"
        body = date + f"{chance.randrange(1000):03d}"
        for check in range(100):
            if is_identity(f"{body}{check:02d}"):
                return f"{body}{check:02d}"


def _password(chance: random.Random) -> str:
    alphabet = _ALNUM + "!#%+*.-"
    while True:
        made = "".join(chance.choices(alphabet, k=chance.randint(12, 20)))
        if any(c.isdigit() for c in made) and sum(c.isalpha() for c in made) > 3:
            return made.strip(".-")


def _within(
    secret: Callable[[random.Random], str], *lines: str
) -> Callable[[random.Random], tuple[str, str]]:
    def make(chance: random.Random) -> tuple[str, str]:
        made = secret(chance)
        return made, chance.choice(lines).replace("{}", made)

    return make


def _telegram(chance: random.Random) -> str:
    return f"{chance.randrange(10**8, 10**10)}:AA{_of(chance, _URL, 33)}"


def _discord(chance: random.Random) -> str:
    name = base64.b64encode(str(chance.randrange(10**17, 10**18)).encode()).decode().rstrip("=")
    return f"{name}.{_of(chance, _URL, 6)}.{_of(chance, _URL, 38)}"


def _azure(chance: random.Random) -> str:
    return base64.b64encode(chance.randbytes(64)).decode()


_MAKERS: dict[str, Callable[[random.Random], str | tuple[str, str]]] = {
    "OpenAI": _prefixed("sk-proj-", _URL, 156),
    "OpenAI, old": _prefixed("sk-", _ALNUM, 48),
    "Anthropic": _prefixed("sk-ant-api03-", _URL, 93),
    "OpenRouter": _prefixed("sk-or-v1-", _HEX, 64),
    "DeepSeek": _prefixed("sk-", _HEX, 32),
    "Google": _prefixed("AIza", _URL, 35),
    "Google OAuth": _prefixed("ya29.a0", _URL, 120),
    "Google client": _prefixed("GOCSPX-", _URL, 28),
    "AWS id": _prefixed("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "AWS secret": _within(
        _prefixed("", _ALNUM + "/+", 40), "aws_secret_access_key = {}", "AWS_SECRET_ACCESS_KEY={}"
    ),
    "GitHub": _prefixed("ghp_", _ALNUM, 36),
    "GitHub fine-grained": _prefixed("github_pat_", _ALNUM, 82),
    "GitHub app": _prefixed("ghs_", _ALNUM, 36),
    "GitLab": _prefixed("glpat-", _URL, 20),
    "Hugging Face": _prefixed("hf_", string.ascii_letters + string.digits, 34),
    "Groq": _prefixed("gsk_", _ALNUM, 52),
    "xAI": _prefixed("xai-", _ALNUM, 80),
    "Perplexity": _prefixed("pplx-", _ALNUM, 48),
    "Replicate": _prefixed("r8_", _ALNUM, 37),
    "NVIDIA": _prefixed("nvapi-", _URL, 64),
    "Slack bot": _prefixed("xoxb-" + "123456789012-", _ALNUM, 24),
    "Slack webhook": lambda c: (
        f"https://hooks.slack.com/services/T{_of(c, _UPPER, 8)}/B{_of(c, _UPPER, 8)}/"
        f"{_of(c, _ALNUM, 24)}"
    ),
    "Stripe": _prefixed("sk_live_", _ALNUM, 24),
    "Stripe webhook": _prefixed("whsec_", _ALNUM, 32),
    "Twilio": _prefixed("SK", _HEX, 32),
    "SendGrid": lambda c: f"SG.{_of(c, _URL, 22)}.{_of(c, _URL, 43)}",
    "Mailgun": _prefixed("key-", _HEX, 32),
    "npm": _prefixed("npm_", _ALNUM, 36),
    "PyPI": _prefixed("pypi-AgEIcHlwaS5vcmc", _URL, 150),
    "Docker": _prefixed("dckr_pat_", _URL, 27),
    "DigitalOcean": _prefixed("dop_v1_", _HEX, 64),
    "Databricks": _prefixed("dapi", _HEX, 32),
    "Telegram": _telegram,
    "Discord": _discord,
    "Shopify": _prefixed("shpat_", _HEX, 32),
    "Vault": _prefixed("hvs.", _URL, 90),
    "Linear": _prefixed("lin_api_", _ALNUM, 40),
    "Notion": _prefixed("ntn_", _ALNUM, 46),
    "Figma": _prefixed("figd_", _URL, 40),
    "New Relic": _prefixed("NRAK-", _UPPER, 27),
    "Grafana": lambda c: f"glsa_{_of(c, _ALNUM, 32)}_{_of(c, _HEX, 8)}",
    "Azure storage": _within(
        _azure, "DefaultEndpointsProtocol=https;AccountName=aiki;AccountKey={};EndpointSuffix=x"
    ),
    "JSON web token": _jwt,
    "RSA key": _pem("RSA PRIVATE KEY", 1190),
    "EC key": _pem("EC PRIVATE KEY", 121),
    "PKCS8 key": _pem("PRIVATE KEY", 1218),
    "OpenSSH key": _pem("OPENSSH PRIVATE KEY", 400),
    "age key": _prefixed("AGE-SECRET-KEY-1", _UPPER, 58),
    "Postgres": _within(
        _prefixed("", _ALNUM + "!_-.", 16),
        "postgresql://kari:{}@db.example.org:5432/app",
        "postgres://app:{}@10.0.0.7/app?sslmode=require",
    ),
    "MongoDB": _within(
        _prefixed("", _ALNUM, 20), "mongodb+srv://aiki:{}@cluster0.example.mongodb.net/test"
    ),
    "Redis": _within(_prefixed("", _ALNUM, 32), "redis://:{}@cache.example.org:6379/0"),
    "bearer": _within(
        _prefixed("", _ALNUM, 40),
        "Authorization: Bearer {}",
        "curl -H 'Authorization: Bearer {}' https://api.example.org",
    ),
    "assigned key": _within(
        _prefixed("", _ALNUM, 32), "MISTRAL_API_KEY={}", 'api_key: "{}"', '{"apiKey": "{}"}'
    ),
    "client secret": _within(_prefixed("", _ALNUM, 40), "client_secret={}", "client secret: {}"),
    "password": _within(
        _password, "password: {}", "passord: {}", "PGPASSWORD={}", "password is {}"
    ),
    "Visa": _card("4"),
    "Mastercard": _card("51", "53", "55", "2221", "2719"),
    "American Express": _card("34", "37", size=15, groups=(4, 6, 5)),
    "fødselsnummer": _identity,
}
"""Who makes it -> a secret, or a secret and the line that it stands in."""
