"""A reader at work in a real JupyterLab: asks, watches the answer grow, stops it, comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_server import FaultServer, Scenario

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Open = Callable[..., Any]

LONG = " ".join(f"word{n}" for n in range(60))


def test_an_answer_grows_and_the_card_tells_its_facts(
    lab: Any, open_book: Open, scripted: FaultServer
) -> None:
    book = open_book(lab.write("grow.ipynb", [""]))
    scripted.script(Scenario(text=f"**Bold** start. {LONG}", delay_s=0.05))
    book.page.locator(".cm-content").first.click()
    book.page.keyboard.type("Tell me a long story about bees, please?")
    book.run(0)

    book.answer(0).get_by_text("word3").wait_for(timeout=60_000)
    sizes = []
    for _ in range(4):
        sizes.append(len(book.answer(0).inner_text()))
        book.page.wait_for_timeout(400)
    assert sizes == sorted(set(sizes)), "the answer did not grow"
    stop = book.card(0).get_by_role("button", name="Stop this answer")
    assert stop.is_visible()
    assert book.prompt(0) == "[*]:"

    book.idle()
    assert book.answer(0).locator("strong").inner_text() == "Bold"
    assert book.answer(0).inner_text().endswith("word59")
    card = book.card(0)
    card.locator("text=remember").wait_for()
    said = card.inner_text()
    for fact in ("scripted/", " tokens", "$", "tok/s", "recall", "first token", "generate"):
        assert fact in said, said
    assert stop.count() == 0

    book.save()
    (answer, kept) = lab.read("grow.ipynb").cells[0].outputs
    assert answer["data"]["text/plain"].endswith("word59")
    assert answer["metadata"]["aiki"]["finish_reason"] == "stop"
    assert set(kept["data"]) == {"text/html", "text/plain"}


def test_a_second_notebook_remembers_the_first_while_it_is_open(
    lab: Any, open_book: Open, scripted: FaultServer
) -> None:
    fact = "My sister Åse keeps eleven beehives in Ålesund."
    first = open_book(lab.write("garden.ipynb", [fact]))
    scripted.script(Scenario(text="Noted: eleven beehives."))
    first.ask(0)

    second = open_book(lab.write("later.ipynb", ["How many beehives does my sister have?"]))
    scripted.script(Scenario(text="Eleven."))
    second.ask(0)
    second.card(0).locator("summary").click(position={"x": 5, "y": 8})
    memories = second.card(0).locator("li")
    memories.first.wait_for()
    shown = " ".join(memories.all_inner_texts())
    assert "eleven beehives" in shown
    assert "garden.ipynb" in shown

    # The first notebook is still there and goes on.
    scripted.script(Scenario(text="Still here."))
    first.ask(0)
    assert "Still here." in first.answer(0).inner_text()


def test_html_in_an_answer_does_nothing(lab: Any, open_book: Open, scripted: FaultServer) -> None:
    evil = (
        "Before. <script>document.title = 'hurt'</script>"
        '<img src="http://evil.example/pixel.png" onerror="document.title=\'hurt\'">'
        "\n\n![chart](http://evil.example/chart.png)\n\n"
        "<iframe src='http://evil.example/frame'></iframe>\n\n"
        "[link](javascript:document.title='hurt')\n\n"
        "<style>body { background: url(http://evil.example/body.png) }</style> After."
    )
    book = open_book(lab.write("evil.ipynb", ["Answer with HTML.", "What did you just say?"]))
    scripted.script(Scenario(text=evil), Scenario(text="Nothing."))
    book.ask(0)
    book.ask(1)  # the evil text comes back as a memory or as context
    book.page.wait_for_timeout(500)
    answer = book.output(0)
    assert "After." in answer.inner_text()
    assert "hurt" not in book.page.title()
    remote = "script, iframe, img[src^='http'], [onerror], a[href^='javascript'], style"
    assert answer.locator(remote).count() == 0
    assert book.output(1).locator(remote).count() == 0
    assert not any("evil.example" in url for url in book.requests)


def test_a_failed_call_is_one_line(lab: Any, open_book: Open, scripted: FaultServer) -> None:
    book = open_book(lab.write("refused.ipynb", ["Hello?"]))
    scripted.script(Scenario(status=401, message="bad key"))
    book.ask(0)
    error = book.output(0).locator(".jp-RenderedText[data-mime-type*='error'], .jp-RenderedText")
    said = error.last.inner_text()
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1
    assert "key" in said.lower()


@pytest.mark.parametrize(("theme", "width"), [("Dark", 1100), ("Light", 1100), ("Light", 400)])
def test_pictures_of_a_conversation(
    lab: Any, open_book: Open, scripted: FaultServer, theme: str, width: int
) -> None:
    lab.theme(theme)
    name = lab.write(f"picture-{theme}-{width}.ipynb", ["What do bees make?", "And how?"])
    book = open_book(name, width=width, bare=width < 600)
    text = "Bees make **honey**, wax and propolis."
    scripted.script(Scenario(text=text), Scenario(text=LONG, delay_s=0.1))
    book.ask(0)
    book.run(1)
    book.answer(1).get_by_text("word9").wait_for()
    live, kept = book.card(1), book.card(0)
    book.page.screenshot(path=str(lab.shots / f"conversation-{theme}-{width}.png"))
    for card in (live, kept):
        assert card.evaluate("n => n.scrollWidth <= n.clientWidth")
        colour = card.evaluate("n => getComputedStyle(n).color")
        parts = [int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
        assert (min(parts) > 180) if theme == "Dark" else (max(parts) < 80)
    live.get_by_role("button", name="Stop this answer").click()
    book.idle()


@pytest.mark.timeout(300)
def test_the_model_on_this_machine_answers_in_the_browser(
    lab: Any, open_book: Open, local_model: str
) -> None:
    book = open_book(
        lab.write("local.ipynb", [f"%aiki_model {local_model}", "%%aiki --max-tokens 24\nHello!"])
    )
    book.ask(0)
    book.ask(1, seconds=200)
    assert len(book.answer(1).inner_text().strip()) > 3
    said = book.card(1).inner_text()
    for fact in (f"{local_model} · ", "→", " tokens", "free", "tok/s", "first token"):
        assert fact in said, said
    assert "~" not in said.split("free")[0], "the local engine counts its tokens"
    assert not any(not url.startswith(lab.url) for url in book.requests if url.startswith("http"))
