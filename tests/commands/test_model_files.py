"""``aiki model inspect`` and ``add``: what a file is, and making it one of ours."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from fault_server import FaultServer

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import complete, run
from aiki_kernel.config import Paths, load
from aiki_kernel.errors import ModelError
from aiki_kernel.models import catalogue
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.gguf_writer import TensorPlan, write_gguf


def call(*words: str) -> Result:
    return run(["model", *words], Context("cli"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_bitnet(tmp_path / "mine.gguf", TINY)


def foreign(path: Path) -> Path:
    """A Llama by its own account, with a type that is not run here."""
    facts = {
        "general.architecture": "llama",
        "llama.embedding_length": 256,
        "llama.block_count": 1,
        "llama.context_length": 128,
    }
    plan = TensorPlan("token_embd.weight", (4, 256), "Q4_K", lambda: [bytes(4 * 144)])
    write_gguf(path, facts, [plan])
    data = bytearray(path.read_bytes())
    place = data.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 16
    data[place] = 19  # IQ1_S, which takes less room
    path.write_bytes(data)
    return path


def test_a_file_is_described(aiki_home: Path, file: Path) -> None:
    result = call("inspect", str(file))
    assert result.data["runs"] is True
    assert result.data["architecture"] == "bitnet-b1.58"
    assert result.data["quantisation"]["feed-forward"] == "I2_S"
    assert result.data["parameters"] == TINY.vocabulary * TINY.width + TINY.width + 3 * (
        3 * 256 + 512 + 2 * 256 * 256 + 2 * 128 * 256 + 3 * 256 * 512
    )
    assert result.data["context"] == 512
    assert result.data["state_bytes"] == TINY.state_bytes(512)
    assert result.data["bandwidth"] > 1e8
    engines = result.data["engines"]
    assert list(engines) == ["mojo", "numpy"]
    assert engines["numpy"]["tokens_per_second"] > 0
    assert engines["numpy"]["nbytes"] < 700_000
    assert engines["mojo"]["why_not"] or engines["mojo"]["tokens_per_second"] > 0
    for word in ("I2_S", "runs here", "with numpy", "tokens/s", "1.9 million"):
        assert word in result.text
    quick = json.loads(
        run(["model", "inspect", str(file), "--no-measure", "--json"], Context("cli")).text
    )
    assert quick["engines"]["numpy"]["tokens_per_second"] is None


def test_what_stands_in_the_way_is_said(aiki_home: Path, tmp_path: Path) -> None:
    result = call("inspect", str(foreign(tmp_path / "odd.gguf")), "--no-measure")
    assert result.status == 0
    assert result.data["runs"] is False
    assert result.data["engines"] == {}
    assert any("IQ1_S" in line for line in result.data["obstacles"])
    assert all("\n" not in line for line in result.data["obstacles"])
    with pytest.raises(ModelError):
        call("add", str(tmp_path / "odd.gguf"))


def test_a_file_that_is_none_is_one_line(aiki_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    for words in (
        ("inspect", str(path)),
        ("add", str(path)),
        ("inspect", str(tmp_path / "x.gguf")),
    ):
        with pytest.raises(ModelError) as caught:
            call(*words)
        assert "\n" not in str(caught.value)


def test_a_file_becomes_a_local_model(aiki_home: Path, file: Path) -> None:
    assert call("add", str(file)).data["model"] == "local/mine"
    assert call("add", str(file)).data["model"] == "local/mine"  # once is as good as twice
    assert call("add", str(file), "--name", "yours").data["model"] == "local/yours"
    assert "local/mine" in call("list").text
    assert call("inspect", "local/mine", "--no-measure").data["runs"]
    assert call("use", "local/mine").data["name"] == "local/mine"
    link = Paths.default().models / "mine.gguf"
    assert link.resolve() == file.resolve()
    assert "local/mine" in complete(["model", "use"], "local/", Context("cli"))


def test_choosing_a_file_adds_it(aiki_home: Path, file: Path) -> None:
    assert call(str(file)).data["name"] == "local/mine"
    assert load().model == "local/mine"


def test_names_are_not_taken_twice(aiki_home: Path, file: Path, tmp_path: Path) -> None:
    call("add", str(file))
    other = write_bitnet(tmp_path / "other.gguf", TINY, seed=5)
    with pytest.raises(ModelError, match="already"):
        call("add", str(other), "--name", "mine")
    with pytest.raises(ModelError, match="pulled"):
        call("add", str(file), "--name", "smollm2-135m")
    for wrong in ("a/b", "..", "-x", "å b"):
        with pytest.raises(ModelError, match="--name"):
            call("add", str(file), f"--name={wrong}")


def test_a_link_whose_file_has_gone_may_be_made_again(aiki_home: Path, file: Path) -> None:
    call("add", str(file))
    moved = file.with_name("moved.gguf")
    file.rename(moved)
    assert call("add", str(moved), "--name", "mine").data["model"] == "local/mine"


def test_completion_offers_files(aiki_home: Path, file: Path) -> None:
    found = complete(["model", "inspect"], f"{file.parent}/", Context("cli"))
    assert str(file) in found


def test_a_server_becomes_an_endpoint(aiki_home: Path, fault_server: FaultServer) -> None:
    base = fault_server.base_url
    result = call("add", base, "--name", "mine")
    assert result.data["endpoint"] == "mine"
    written = tomllib.loads((aiki_home / "aiki.toml").read_text("utf-8"))
    assert written["endpoints"]["mine"]["base_url"] == base
    model = result.data["models"][0]
    assert catalogue.resolve(load(), model).base_url == base


def test_nobody_answers(aiki_home: Path) -> None:
    for url, said in (
        ("http://127.0.0.1:9", "answers"),
        ("http://me:secret@127.0.0.1:9", "password"),
        ("http://", "address"),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            call("add", url)
        assert "secret" not in str(caught.value)
    assert not (aiki_home / "aiki.toml").exists()
