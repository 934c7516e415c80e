"""``aiki bench peers``: our kernel as JupyterLab drives it, beside others on one fixed answer."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import openai
import pytest

from aiki_kernel.commands import fixed_answer, peer_kernels
from aiki_kernel.commands.bench_peers import FIGURES, QUESTIONS, measure, one_run, peers, whole
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.kernel_session import Cell, KernelSession, _put
from aiki_kernel.commands.peer_kernels import OURS, PEERS, Peer, PeerError
from aiki_kernel.errors import UsageError

WIDGET_BYTES = 6000


def test_the_server_answers_as_a_whole_and_streams() -> None:
    with fixed_answer.serving() as served:
        client = openai.OpenAI(base_url=served.url, api_key="none")
        asked = {"model": "any", "messages": [{"role": "user", "content": "x"}]}
        whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
        assert whole.choices[0].message.content == fixed_answer.ANSWER
        stream = client.chat.completions.create(stream=True, **asked)  # type: ignore[call-overload]
        pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
        assert "".join(pieces) == fixed_answer.ANSWER
        assert len(pieces) > 20
        with urllib.request.urlopen(f"{served.url}/models") as answer:
            assert json.load(answer)["data"][0]["id"] == fixed_answer.MODEL
        assert served.asked == ["x", "x"]


def test_ours_is_measured_and_messages_stay_small(tmp_path: Path) -> None:
    """The real kernel; also that no message of a card is heavy: 6 kB is the issue's limit."""
    ours, python = PEERS[0], peer_kernels.install(PEERS[0], tmp_path)
    with fixed_answer.serving() as served:
        given = {**peer_kernels.environment(ours, served.url, tmp_path / "h"), "AIKI_DAEMON": "off"}
        session = KernelSession([str(python), "-m", ours.module], given, tmp_path / "k")
        heard: list[dict[str, object]] = []
        hear = session.client.get_iopub_msg

        def hear_and_keep(timeout: float) -> dict[str, object]:
            heard.append(hear(timeout=timeout))
            return heard[-1]

        session.client.get_iopub_msg = hear_and_keep
        try:
            cells = [session.run(question, sign=fixed_answer.SIGN) for question in QUESTIONS]
        finally:
            session.close()
    for cell, question in zip(cells, QUESTIONS, strict=True):
        assert whole(cell, question, served.asked)
        assert not whole(cell, "What is a comet?", served.asked)
        assert cell.status == "ok"
        assert cell.first_s is not None
        assert cell.first_s <= cell.done_s
        assert "aphelion" in json.dumps(cell.outputs)
        assert 500 < cell.output_bytes < 12_000
    # The class of a widget travels once, when it opens; what streams is its state.
    updates = [m["content"]["data"] for m in heard if m["msg_type"] == "comm_msg"]  # type: ignore[index]
    assert updates
    assert max(len(json.dumps(update)) for update in updates) < WIDGET_BYTES


@pytest.mark.parametrize(
    ("requirement", "said"), [("aiki-no-such-peer==1", "aiki-no-such-peer"), ("a b c", "a b c")]
)
def test_a_peer_that_is_not_to_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str, said: str
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    peer = Peer("other", "nothing", (requirement,), lambda url, home: {})
    with pytest.raises(PeerError, match=r"other was not installed: .*") as caught:
        peer_kernels.install(peer, tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_peer_that_shows_no_answer_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    """A stock Python kernel answers nothing."""
    stock = Peer("stock", "ipykernel_launcher", (), lambda url, home: {})
    data = measure({stock: peer_kernels.install(stock, tmp_path)}, 1, lambda done, total: None)
    assert data["kernels"] == {}
    assert data["missing"]["stock"].startswith("stock: it showed no answer but")
    assert "not found" in data["missing"]["stock"]  # it takes a question mark for its help


def test_an_answer_that_is_cut_or_marked_up_is_told_apart() -> None:
    page = "<p>" + fixed_answer.ANSWER.replace("**aphelion**", "<b>aphelion</b>") + "</p>"
    for text, right in ((page, True), (fixed_answer.ANSWER[:-20], False), ("", False)):
        cell = Cell("x", outputs=[{"output_type": "display_data", "data": {"text/html": text}}])
        assert whole(cell, "x?", ["Human: x?"]) is right


def test_wrong_words_are_one_line() -> None:
    with pytest.raises(UsageError, match="no peer 'jupiter': known are pydantic-ai-kernel"):
        peers(Context("cli"), only="jupiter")
    with pytest.raises(UsageError, match="--repeats"):
        peers(Context("cli"), repeats=0)


def test_streams_are_joined_and_bytes_are_those_of_the_outputs() -> None:
    cell = Cell("x")
    for name, text in (("stdout", "a"), ("stdout", "b"), ("stderr", "c")):
        _put(cell.outputs, {"output_type": "stream", "name": name, "text": text})
    assert [output["text"] for output in cell.outputs] == ["ab", "c"]
    assert Cell("x").output_bytes == 0
    more = Cell("x", outputs=[{**cell.outputs[0], "text": "a" * 1002}, cell.outputs[1]])
    assert more.output_bytes - cell.output_bytes == 1000


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_all_peers_are_installed_and_measured(tmp_path: Path) -> None:
    found = peers(Context("cli", width=200), repeats=1, environments=tmp_path)
    assert found.data["missing"] == {}
    assert found.status == 0
    assert next(iter(found.data["kernels"])) == OURS
    for name, row in found.data["kernels"].items():
        assert list(row) == list(FIGURES)
        assert all(value > 0 for value in row.values()), name
        assert found.data["answers"][name]["right"] == found.data["answers"][name]["cells"], name
        assert found.data["versions"][name]
        assert name in found.text
    with fixed_answer.serving() as served:
        again = one_run(
            PEERS[-1], peer_kernels.install(PEERS[-1], tmp_path), served, tmp_path / "x"
        )
    assert again["next_answer_s"] > 0
