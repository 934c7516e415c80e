"""Texts for measuring embedders: questions of twelve words, passages as people write them.

Half is Norwegian, half English; all were written for this purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUESTIONS = (
    "hvordan kan jeg installere en ny modell på denne maskinen i kveld",
    "hva het restauranten i Bergen der vi spiste middag med Kari sist",
    "hvilken port bruker serveren etter at vi flyttet den til ny maskin",
    "når skulle rapporten om budsjettet leveres til ledelsen i det nye året",
    "hvem lovet å hente barna i barnehagen mens jeg er på reise",
    "hvor mange liter maling trengte vi for å dekke hele det rommet",
    "hvorfor feilet testene på byggetjeneren etter den siste endringen vi gjorde sammen",
    "hva sa legen om medisinen som mormor begynte å ta i fjor",
    "how can I install a second kernel in this notebook without conda",
    "what was the name of the small hotel we liked in Lisbon",
    "which port does the database listen on after the last server move",
    "when is the deadline for the report about the energy use project",
    "who promised to bring the projector to the meeting on Thursday morning",
    "how many samples did we drop when the sensor was not calibrated",
    "why did the nightly job fail after the change of time zone",
    "what did the doctor say about running again with the old injury",
)

PASSAGES = (
    "Hunden min heter Balto.",
    "Vi bor på Frogner i Oslo, men leter etter noe større utenfor byen.",
    "Kari: Vi kjørte til hytta på fredag kveld, men det snødde så mye at veien var stengt.",
    "Møtet er flyttet til torsdag kl. 14:30 – husk å ta med regnskapet for tredje kvartal!",
    "Passordet til ruteren står på lappen under kjøkkenbenken, ved siden av sikringsskapet.",
    "Ola er allergisk mot nøtter og skalldyr, så kaken til bursdagen må bakes uten mandler.",
    "Jeg bruker Python 3.12 på jobben og 3.11 hjemme, fordi et av bibliotekene henger etter.",
    "Blåbærsyltetøy på brødskiva er det beste jeg vet, sa Åshild, og smurte seg en til.",
    "Bilen må på verksted før påske: bremsene piper, og lyset foran til høyre er gått igjen.",
    "Vi målte 21,4 grader i stua og 17,9 på soverommet klokka tre om natta.",
    "Feilen kom av at tidssonen ikke var satt; nå lagres alle tidspunkter i UTC.",
    "Mormor fylte 87 år på lørdag. Hele familien kom, også onkel Terje fra Tromsø, som ingen "
    "hadde sett siden begravelsen.",
    "Prosjektet heter Nordlys og skal være ferdig 15. mars; budsjettet er på 1,25 millioner "
    "kroner, og 42 % er brukt.",
    "Turen gikk fra Finse til Flåm på sykkel. Vi overnattet på Hallingskeid, og den siste dagen "
    "regnet det så kraftig at vi tok toget ned fra Myrdal i stedet.",
    "Modellen svarer bedre når spørsmålet stilles på norsk, men tallene i tabellen må fortsatt "
    "kontrolleres for hånd, fordi den av og til bytter om komma og punktum.",
    "ok",
    "The server listens on port 6333; restart it with `systemctl restart qdrant`.",
    "Melanie: I ran a charity race for mental health last Saturday! [a photo of some runners]",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)",
    "My sister moved to Lisbon in March and works for a company that makes wind turbines.",
    "The deadline for the energy report is the first Friday of November, before lunch.",
    "Use the second key in the drawer; the first one belongs to the neighbours.",
    "He prefers tea in the morning, coffee after lunch, and nothing after six in the evening.",
    "The nightly job failed because the disk was full: 98 % of it was old checkpoints.",
    "I think that we should keep the blue chart and drop the table, nobody reads it anyway.",
    "The sensor in the attic was not calibrated until May, so ignore its values before that.",
    "SELECT name, count(*) FROM visits WHERE day >= '2024-01-01' GROUP BY name ORDER BY 2 DESC;",
    "We tried three learning rates; 3e-4 was the best, 1e-3 diverged after two hundred steps and "
    "1e-5 had not moved at all by the time that we stopped it.",
    "Caroline: That painting took me two weeks. I wanted the sea to look like it does in the "
    "evening, when the light comes from below and everything else is already dark.",
    "The landlord said that the heating will be repaired next week, that we may deduct ten per "
    "cent of the rent, and that he is sorry for the trouble with the keys.",
    "A cell is a message: it is recalled, routed, answered and remembered, and what happened is "
    "shown under the answer with its price and the time that every stage took.",
    "Thanks!",
)


def passages(count: int = 64) -> list[str]:
    """Passages of very different lengths; each is one of the above, or two or three together."""
    made = list(PASSAGES)
    for i in range(count - len(made)):
        parts = 2 + i % 2
        made.append(" ".join(PASSAGES[(i * 7 + j * 5) % len(PASSAGES)] for j in range(parts)))
    return made[:count]


def strings(path: Path, limit: int = 2000) -> list[str]:
    """Every text in a JSON file, in order and without repetition: for checking on one's own data.

    Raises OSError or ValueError for a file that cannot be read.
    """
    found: dict[str, None] = {}

    def walk(value: Any) -> None:
        if isinstance(value, str) and len(value) > 20:
            found[value] = None
        elif isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(json.loads(path.read_text("utf-8")))
    return list(found)[:limit]
