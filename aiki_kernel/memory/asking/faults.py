"""Whether a message asks about what was wrong with the program or the machine.

What the health daemon writes down ("the local model is down") is like nothing else that is
remembered, and in a young memory it is near to every question. So it is recalled only for
messages that speak of such things; a search of the memory finds it always.
"""

from __future__ import annotations

import re

from aiki_kernel.memory.asking.vocabulary import word_set

KIND = "issue"
SOURCE = "health"

_WORD = re.compile(r"[a-zæøå]+")
_FAULTS = word_set(
    "wrong broke broken break breaks breaking down failed fail fails failing failure failures "
    "fault faults faulty error errors crash crashed crashes hang hangs hung freeze froze slow "
    "stuck outage outages offline unreachable unavailable killed died health healthy unhealthy "
    "issue issues problem problems trouble troubles incident incidents alert alerts warning "
    "warnings degraded recovered daemon daemons service services server spool probe probes "
    "galt gale feil feilen feilene feilet feiler feila nede krasj krasjet krasja krasjer "
    "henger hang treg tregt trege helse helsen problem problemer problemet problemene trøbbel "
    "utilgjengelig drept døde varsel varsler hendelse hendelser tjeneste tjenesten tjenester "
    "tjenestene tjener tjeneren ødelagt stanset stoppet stoppa"
)
_PAIRS = (("disk", "full"), ("disken", "full"), ("budget", "used"), ("budsjettet", "brukt"))


def about_faults(text: str) -> bool:
    """Whether ``text`` (English or Norwegian) speaks of faults, health or services."""
    words = set(_WORD.findall(text.lower()))
    return bool(words & _FAULTS) or any(set(pair) <= words for pair in _PAIRS)
