from __future__ import annotations

import pytest

from aiki_kernel.errors import ConfigError
from aiki_kernel.safety.secrets import MARK, find, redact, refuse

# Made-up keys, put together here so that no scanner takes this file for a leak.
BODY = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5hJ7kL9"
KEYS = {
    "OpenAI key": f"sk-proj-{BODY}",
    "OpenRouter key": f"sk-or-v1-{BODY.lower()}",
    "Anthropic key": f"sk-ant-api03-{BODY}",
    "API key": f"sk-{BODY}",
    "Google key": f"AIza{BODY[:35]}",
    "AWS key": "AKIA" + "ABCDEFGH12345678",
    "GitHub token": f"ghp_{BODY[:36]}",
    "GitLab token": f"glpat-{BODY[:20]}",
    "Hugging Face token": f"hf_{BODY[:34]}",
    "Groq key": f"gsk_{BODY}",
    "Slack token": "xoxb-" + "1234567890-abcdef",
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items())
def test_keys_are_found_whole_wherever_they_stand(kind, key):
    text = f"Nøkkelen er «{key}», takk."
    [finding] = find(text)
    assert finding.kind == kind
    assert text[finding.start : finding.end] == key
    assert redact(text) == f"Nøkkelen er «{MARK}», takk."


@pytest.mark.parametrize(
    "text",
    [
        f'headers = {{"Authorization": "Bearer {BODY}"}}',
        f"MY_API_KEY={BODY}",
        f'api_key: "{BODY}"',
        f'{{"api_key": "{BODY}"}}',
    ],
)
def test_keys_without_a_prefix_are_known_by_what_stands_before(text):
    assert BODY not in redact(text)
    assert MARK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn and sk-image are libraries; risk-adjusted-returns-of-2024 are not keys",
        "api_key = os.environ.get('OPENAI_API_KEY')",
        "Sett OPENAI_API_KEY=<din nøkkel> i miljøet, ikke i notatboken.",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "550e8400-e29b-41d4-a716-446655440000",
        "bearer of good news, and the bearer shall be paid",
        "https://example.org/a/very/long/path/with/1234567890/and-more?x=1",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


def test_known_secrets_go_whatever_their_shape():
    assert redact("token hunter2-hunter2!", known=["hunter2-hunter2!"]) == f"token {MARK}"
    assert redact("a b c", known=["b", ""]) == "a b c"


def test_a_refusal_says_where_keys_belong_and_never_repeats_one():
    key = KEYS["OpenAI key"]
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        refuse(f"--key {key}")
    assert key not in str(caught.value)
    refuse("set model local")
