"""The shapes of secrets: how issuers make their keys, and what stands before those without a mark.

A shape is tried only where one of its triggers stands in the text, so that ordinary text
costs a few plain searches. Triggers of shapes that ignore case are in lower case. Formats
are the issuers' own, as their documents or their keys show them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """``pattern`` finds it; the group ``value``, where there is one, is the secret alone.

    ``drawn`` asks besides that the value looks drawn by a machine, not written by a person:
    at least that many bits a character.
    """

    kind: str
    triggers: tuple[str, ...]
    pattern: re.Pattern[str]
    drawn: float = 0.0
    folded: bool = False


def _shape(kind: str, triggers: str, pattern: str) -> Shape:
    return Shape(kind, tuple(triggers.split()), re.compile(pattern))


def _after(kind: str, triggers: str, pattern: str, drawn: float) -> Shape:
    """A value that is known by the word before it, in any case of letters."""
    return Shape(kind, tuple(triggers.split()), re.compile(pattern, re.IGNORECASE), drawn, True)


_END = r"(?![A-Za-z0-9])"
_KEEP = r"[\"'`\u2019\u201d]?"
_IS = rf"{_KEEP}\s{{0,3}}(?:[:=]|=>|:=|\bis\b|\ber\b)\s{{0,3}}(?:\"|'|`|\u00ab|\u201c)?"

SHAPES: tuple[Shape, ...] = (
    _shape(
        "private key",
        "PRIVATE",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
        r"(?:-----END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-----|\Z)",
    ),
    _shape(
        "private key",
        "PuTTY-User-Key-File",
        r"PuTTY-User-Key-File-[\s\S]*?(?:Private-MAC: ?[0-9a-f]+|\Z)",
    ),
    _shape("private key", "AGE-SECRET-KEY-", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    _shape("Anthropic key", "sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    _shape("OpenRouter key", "sk-or-", r"\bsk-or-[A-Za-z0-9_-]{16,}"),
    _shape(
        "OpenAI key",
        "sk-proj- sk-svcacct- sk-admin- sk-None-",
        r"\bsk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{16,}",
    ),
    _shape(
        "Stripe key",
        "sk_live_ sk_test_ rk_live_ rk_test_ whsec_",
        r"\b(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9+/=]{16,}",
    ),
    _shape("API key", "sk- sk_", r"\bsk[-_](?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{20,}"),
    _shape("Google key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}"),
    _shape("Google token", "ya29.", r"\bya29\.[A-Za-z0-9_-]{20,}"),
    _shape("Google secret", "GOCSPX-", r"\bGOCSPX-[A-Za-z0-9_-]{20,}"),
    _shape("AWS key", "AKIA ASIA ABIA ACCA", rf"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{{16}}{_END}"),
    _shape("AWS key", "AKIA ASIA", rf"\b(?:AKIA|ASIA)[A-Z0-9]{{16}}{_END}"),
    _shape(
        "GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    _shape(
        "GitLab token",
        "glpat- gldt- glrt- glptt- glcbt- gloas- glsoat- glffct- glagent- glimt-",
        r"\bgl(?:pat|dt|rt|ptt|cbt|oas|soat|ffct|agent|imt)-[A-Za-z0-9_.-]{20,}",
    ),
    _shape("Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    _shape("Groq key", "gsk_", r"\bgsk_[A-Za-z0-9]{40,}"),
    _shape("xAI key", "xai-", r"\bxai-[A-Za-z0-9]{40,}"),
    _shape("Slack token", "xox xapp-", r"\b(?:xox[abceoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _shape(
        "webhook",
        "hooks.slack.com discord.com/api/webhooks discordapp.com/api/webhooks",
        r"https://(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)"
        r"/[A-Za-z0-9_/-]{20,}",
    ),
    _shape("Perplexity key", "pplx-", r"\bpplx-[A-Za-z0-9]{32,}"),
    _shape("Replicate token", "r8_", r"\br8_[A-Za-z0-9]{32,}"),
    _shape("NVIDIA key", "nvapi-", r"\bnvapi-[A-Za-z0-9_-]{40,}"),
    _shape("Fireworks key", "fw_", r"\bfw_[A-Za-z0-9]{20,}"),
    _shape("Tavily key", "tvly-", r"\btvly-[A-Za-z0-9-]{20,}"),
    _shape("LangSmith key", "lsv2_", r"\blsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    _shape("Pinecone key", "pcsk_", r"\bpcsk_[A-Za-z0-9_]{40,}"),
    _shape("npm token", "npm_", rf"\bnpm_(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{{36}}{_END}"),
    _shape("PyPI token", "pypi-", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    _shape("Docker token", "dckr_", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    _shape("DigitalOcean token", "_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}"),
    _shape("Databricks token", "dapi", rf"\bdapi[a-f0-9]{{32}}(?:-\d)?{_END}"),
    _shape("SendGrid key", "SG.", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _shape("Twilio key", "SK", rf"\bSK[a-f0-9]{{32}}{_END}"),
    _shape("Mailgun key", "key-", rf"\bkey-[a-f0-9]{{32}}{_END}"),
    _shape("Mailchimp key", "-us", r"\b[a-f0-9]{32}-us\d{1,2}\b"),
    _shape("Telegram token", ":AA", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _shape(
        "Discord token",
        "M N O",
        r"(?<![A-Za-z0-9_-])[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
    ),
    _shape("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _shape("Square token", "sq0 EAAA", r"\b(?:sq0[a-z]{3}-[A-Za-z0-9_-]{22,}|EAAA[\w-]{56,})"),
    _shape("Vault token", "hvs. hvb. hvr.", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    _shape("Terraform token", ".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,}"),
    _shape("Linear key", "lin_", r"\blin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    _shape("Notion token", "ntn_ secret_", r"\b(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})"),
    _shape("Figma token", "figd_", r"\bfigd_[A-Za-z0-9_-]{35,}"),
    _shape("Postman key", "PMAK-", r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    _shape("New Relic key", "NRAK-", r"\bNRAK-[A-Z0-9]{27}"),
    _shape("Sentry token", "sntry", r"\bsntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    _shape(
        "Grafana token", "glsa_ glc_", r"\b(?:glsa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8}|glc_[\w+/=]{32,})"
    ),
    _shape("Doppler token", "dp.", r"\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9._-]{40,}"),
    _shape(
        "Supabase key", "sbp_ sb_secret_", r"\b(?:sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,})"
    ),
    _shape("Netlify token", "nfp_", r"\bnfp_[A-Za-z0-9]{36,}"),
    _shape("Atlassian token", "ATATT ATCTT", r"\bAT(?:ATT|CTT)3[A-Za-z0-9_=-]{60,}"),
    _shape("Dropbox token", "sl.", r"\bsl\.[A-Za-z0-9_-]{100,}"),
    _shape("Azure key", "AccountKey= SharedAccessKey=", r"Key=(?P<value>[A-Za-z0-9+/]{40,}={0,2})"),
    _shape("Azure signature", "sig=", r"[?&]sig=(?P<value>[A-Za-z0-9%+/=]{30,})"),
    _shape(
        "JSON web token",
        "eyJ",
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
        r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ),
    _shape(
        "password in an address",
        "://",
        r"(?<![A-Za-z])[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s/:@\"'<>]{0,80}:"
        r"(?P<value>[^\s@/\"'<>]{3,120})@",
    ),
    _after(
        "bearer token",
        "bearer",
        r"\bbearer\s{1,3}(?P<value>(?=[^\s]*\d)[A-Za-z0-9._~+/=-]{20,})",
        0.0,
    ),
    _after(
        "basic credentials",
        "basic",
        r"\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?basic\s{1,3}(?P<value>[A-Za-z0-9+/]{8,}={0,2})",
        0.0,
    ),
    _after(
        "key",
        "key token secret",
        r"(?:api[ _-]?key|secret[ _-]?access[ _-]?key|access[ _-]?key|secret[ _-]?key|"
        r"account[ _-]?key|private[ _-]?key|master[ _-]?key|signing[ _-]?key|encryption[ _-]?key|"
        r"access[ _-]?token|auth[ _-]?token|refresh[ _-]?token|session[ _-]?token|bot[ _-]?token|"
        r"api[ _-]?token|id[ _-]?token|client[ _-]?secret|app[ _-]?secret|api[ _-]?secret|"
        r"shared[ _-]?secret|webhook[ _-]?secret|jwt[ _-]?secret)"
        rf"{_IS}(?P<value>[A-Za-z0-9._~+/=-]{{16,}})",
        3.0,
    ),
    _after(
        "key",
        "_key _token _secret -key -token -secret",
        r"[A-Z0-9_-]*[_-](?:key|token|secret)\s{0,3}[:=]\s{0,3}[\"']?"
        r"(?P<value>[A-Za-z0-9._~+/=-]{20,})",
        3.2,
    ),
    _after(
        "password",
        "pass pwd passord",
        r"(?:\b|_|\b[a-z0-9]+(?=passw))(?:password|passwd|passphrase|passord(?:et)?|pwd|pass)"
        r"(?:\s(?:mitt|min|my))?"
        rf"{_IS}(?P<value>[^\s\"'`<>,;\u00bb\u201d]{{8,}})",
        2.5,
    ),
)
