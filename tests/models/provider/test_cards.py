from __future__ import annotations

import random
import subprocess
import sys

import pytest

from aiki_kernel.config import Card, Endpoint, Models, Routing, load
from aiki_kernel.errors import ModelError
from aiki_kernel.models import weights
from aiki_kernel.models.cards import _BUILT_IN, TIERS, by_tier, card, cards, chain
from aiki_kernel.models.catalogue import resolve
from aiki_kernel.models.chat import Usage
from aiki_kernel.models.prices import cost_usd, listed

FJORD = Endpoint(
    base_url="http://127.0.0.1:9/v1", models=("stor", "liten"), input_price=2, output_price=8
)
OWN = {
    "fjord/liten": Card(tier="cheap", window=4096, input_price=0.1, output_price=0.2),
    "openai/gpt-4o-mini": Card(tier="standard", logprobs=False),
    "fjord/gave": Card(input_price=0, output_price=0, cache_read_price=0),
}


@pytest.fixture
def settings(aiki_home):
    return load(endpoints={"fjord": FJORD}, models=Models(cards=OWN))


def test_the_built_in_chains_are_models_with_known_prices_and_windows(aiki_home):
    settings = load()
    for tier, names in _BUILT_IN.items():
        for name in names:
            one = card(settings, name)
            assert one.tier == tier
            assert one.cost_usd(1000, 100) > 0, name
            assert one.window > 8000, name
            assert one.price.source.startswith("genai-prices ")
            assert one.price.snapshot >= "2026"


def test_what_aiki_toml_says_wins(settings):
    liten = card(settings, "fjord/liten")
    assert (liten.tier, liten.window, liten.price.source) == ("cheap", 4096, "aiki.toml")
    assert liten.cost_usd(1_000_000, 1_000_000) == pytest.approx(0.3)
    mini = card(settings, "openai/gpt-4o-mini")
    assert (mini.tier, mini.logprobs, mini.seed) == ("standard", False, True)
    assert mini.price.source.startswith("genai-prices "), "no price of one's own: the list's"
    assert card(settings, "fjord/stor").cost_usd(1_000_000, 0) == pytest.approx(2.0)
    assert card(settings, "fjord/gave").cost_usd(10_000, 10_000) == 0.0, "a gift is known"
    assert cost_usd(resolve(settings, "fjord/liten"), Usage(1_000_000, 0)) == pytest.approx(0.1)


def test_unknown_is_unknown(settings):
    cheese = card(settings, "openai/made-of-cheese")
    assert cheese.cost_usd(1, 1) is None
    assert (cheese.tier, cheese.window, cheese.json_schema, cheese.vision) == (None,) * 4
    half = Card(input_price=1.0)
    one = card(load(endpoints={"f": FJORD}, models=Models(cards={"f/x": half})), "f/x")
    assert one.cost_usd(10, 10) is None, "half a price is no price"
    with pytest.raises(ModelError, match="No endpoint"):
        card(settings, "nowhere/x")


def test_a_local_model_costs_nothing(settings):
    local = card(settings, "local")
    assert (local.cost_usd(10**9, 10**9), local.tier, local.local) == (0.0, "local", True)
    assert local.window is None, "nothing is installed, so nothing is known"


def test_cards_have_all_of_them(settings):
    known = cards(settings)
    assert {"local", "fjord/stor", "fjord/liten", "fjord/gave", "openai/gpt-6-luna"} <= set(known)
    assert known["fjord/liten"] == card(settings, "fjord/liten")
    assert known["openai/gpt-6-luna"] == card(settings, "openai/gpt-6-luna")
    assert all(one.name == name for name, one in known.items())
    tiers = {one.tier for one in known.values()}
    assert tiers == {*TIERS, None}
    assert known["openai/text-embedding-3-small"].tier is None, "it does not chat"
    assert known["openrouter/meta-llama/llama-3.3-70b-instruct"].tier == "cheap"


def test_the_arithmetic_is_the_price_lists_own():
    """Every text model of both lists, cold, warm, and beyond the length where prices step."""
    import genai_prices

    dice = random.Random(5)
    for provider in ("openai", "openrouter"):
        for model, (price, _) in sorted(listed(provider).items())[::7]:
            if price.input is None or price.output is None:
                continue
            for _ in range(3):
                given = dice.choice([10, 5_000, 250_000, 900_000])
                read, written = dice.randrange(given // 2), dice.randrange(given // 2)
                if price.cache_write is None:
                    written = 0
                made = dice.randrange(1, 9_000)
                theirs = genai_prices.calc_price(
                    genai_prices.Usage(
                        input_tokens=given,
                        output_tokens=made,
                        cache_read_tokens=read,
                        cache_write_tokens=written,
                    ),
                    model,
                    provider_id=provider,
                )
                ours = price.cost_usd(given, made, read, written)
                assert ours == pytest.approx(float(theirs.total_price)), model


def test_tiers_hold_what_can_be_used_now(settings, monkeypatch):
    found = by_tier(settings)
    assert [one.name for one in found["cheap"]] == ["fjord/liten"], "no key, so nothing else"
    assert [one.name for one in found["standard"]] == ["fjord/stor"]
    assert found["smart"] == found["local"] == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    found = by_tier(settings)
    names = {tier: [one.name for one in found[tier]] for tier in TIERS}
    assert names["smart"] == ["openai/gpt-6.1-sol"]
    assert "openai/gpt-4o-mini" in names["standard"], "put there by aiki.toml"
    costs = [one.usual_usd for one in found["standard"]]
    assert costs == sorted(costs)


def test_without_a_key_no_price_list_is_read(aiki_home):
    program = (
        "import sys; from aiki_kernel.config import load;"
        "from aiki_kernel.models.cards import by_tier, card; by_tier(load());"
        "card(load(), 'local'); assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tiers_in_the_order_of_the_settings(aiki_home, monkeypatch):
    routing = Routing(smart=("fjord/stor", "openai/gpt-4o", "fjord/liten"), cheap=())
    settings = load(endpoints={"fjord": FJORD}, routing=routing)
    assert [one.name for one in by_tier(settings)["smart"]] == ["fjord/stor", "fjord/liten"]
    assert [one.name for one in chain(settings, "smart")][1] == "openai/gpt-4o"
    assert by_tier(settings)["cheap"] == []
    assert card(settings, "fjord/stor").tier == "smart"
    assert {"fjord/stor", "fjord/liten"} <= set(cards(settings))


def test_local_weights_make_the_local_tier(aiki_home):
    folder = aiki_home / "models"
    folder.mkdir()
    assert by_tier(load())["local"] == []
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(weights.for_tests())
    (one,) = by_tier(load())["local"]
    assert (one.name, one.window, one.usual_usd) == ("local", 8192, 0.0)
    assert card(load(), "local/smollm2-135m").window == 8192


def test_settings_are_read_from_the_file(aiki_home):
    (aiki_home / "aiki.toml").write_text(
        '[models.cards."openai/gpt-6.1-sol"]\ntier = "cheap"\nwindow = 1000\n'
        '[routing]\ncheap = ["openai/gpt-6.1-sol"]\n',
        "utf-8",
    )
    one = card(load(), "openai/gpt-6.1-sol")
    assert (one.tier, one.window) == ("cheap", 1000)
