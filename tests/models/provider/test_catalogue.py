from __future__ import annotations

import subprocess
import sys

import pytest

from aiki_kernel.config import Endpoint, load
from aiki_kernel.errors import ModelError
from aiki_kernel.models.catalogue import ModelRef, names, resolve
from aiki_kernel.models.chat import Usage
from aiki_kernel.models.prices import cost_usd, model_names, price_card
from aiki_kernel.models.tokens import estimate

FJORD = Endpoint(
    base_url="http://127.0.0.1:9/v1", models=("stor", "liten"), input_price=2, output_price=8
)


@pytest.fixture
def settings(aiki_home):
    return load(endpoints={"fjord": FJORD})


@pytest.mark.parametrize(
    ("name", "endpoint", "model"),
    [
        ("local", "local", "local"),
        ("local/smollm2-135m", "local", "smollm2-135m"),
        ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openrouter/meta-llama/llama-3.3-70b:free", "openrouter", "meta-llama/llama-3.3-70b:free"),
        ("fjord/liten", "fjord", "liten"),
        ("fjord", "fjord", "stor"),
        (" local ", "local", "local"),
    ],
)
def test_names_resolve(settings, name, endpoint, model):
    ref = resolve(settings, name)
    assert (ref.endpoint, ref.model, ref.local) == (endpoint, model, endpoint == "local")


def test_a_reference_knows_where_and_with_what_key(settings):
    ref = resolve(settings, "openai/gpt-4o-mini")
    assert (ref.key_variable, ref.provider) == ("OPENAI_API_KEY", "openai")
    assert ref.base_url == "https://api.openai.com/v1"
    assert resolve(settings, "local").base_url == "http://aiki.local/v1"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("opnai/gpt-4o", "openai/gpt-4o"),
        ("lokal", "local"),
        ("openai", "openai/gpt-4o-mini"),
        ("nowhere/x", "[endpoints.nowhere]"),
        ("", "local/NAME"),
    ],
)
def test_unknown_names_suggest_the_nearest(settings, name, says):
    with pytest.raises(ModelError) as caught:
        resolve(settings, name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_endpoint_must_not_be_called_local(aiki_home):
    with pytest.raises(ModelError, match="another name"):
        resolve(load(endpoints={"local": FJORD}), "local")


def test_names_for_completion(settings):
    quick = names(settings, public=False)
    assert {"local", "local/smollm2-135m", "fjord/stor", "fjord/liten"} <= set(quick)
    every = names(settings)
    assert "openai/gpt-4o-mini" in every
    assert any(name.startswith("openrouter/") for name in every)
    for name in every:
        resolve(settings, name)


def test_prices_of_a_public_model(settings):
    ref = resolve(settings, "openai/gpt-4o-mini")
    cold = cost_usd(ref, Usage(1_000_000, 1_000_000))
    card = price_card(ref)
    assert cold == pytest.approx(card.input + card.output)
    warm = cost_usd(ref, Usage(1_000_000, 0, cached_tokens=1_000_000))
    assert warm == pytest.approx(card.cached)
    assert card.cached < card.input
    assert card.source.startswith("genai-prices ")
    assert card.snapshot >= "2026"


def test_prices_of_the_users_own_win(settings):
    ref = resolve(settings, "fjord/stor")
    assert cost_usd(ref, Usage(1_000_000, 500_000)) == pytest.approx(6.0)
    assert price_card(ref).source == "aiki.toml"
    own = Endpoint(base_url="https://api.openai.com/v1", provider="openai", input_price=1)
    half = resolve(load(endpoints={"mine": own}), "mine/gpt-4o-mini")
    assert cost_usd(half, Usage(10, 10)) is None, "half a price is no price"


def test_unknown_is_none_and_local_is_nothing(settings):
    usage = Usage(1000, 1000)
    assert cost_usd(resolve(settings, "local"), usage) == 0.0
    assert cost_usd(resolve(settings, "openai/made-of-cheese"), usage) is None
    ref = ModelRef("a/gpt-4o", "a", "gpt-4o", "http://127.0.0.1:8000/v1")
    assert cost_usd(ref, usage) is None
    assert price_card(ref).source == "unknown"


def test_a_known_address_has_known_prices():
    ref = ModelRef("mine/gpt-4o-mini", "mine", "gpt-4o-mini", "https://api.openai.com/v1")
    assert cost_usd(ref, Usage(1000, 0)) > 0
    assert model_names("no-such-provider") == ()


def test_the_price_list_is_not_read_for_a_server_of_ones_own():
    program = (
        "import sys; from aiki_kernel.models.catalogue import ModelRef;"
        "from aiki_kernel.models.chat import Usage;"
        "from aiki_kernel.models.prices import cost_usd, load_soon;"
        "ref = ModelRef('a/m', 'a', 'm', 'http://127.0.0.1:8000/v1'); load_soon(ref);"
        "assert cost_usd(ref, Usage(1, 1)) is None;"
        "assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_light_modules_stay_light():
    program = (
        "import sys; from aiki_kernel.models import catalogue, provider, prices, tokens;"
        "from aiki_kernel.models import breaker, cards, fallback;"
        "from aiki_kernel.mind import booking, budget, ledger;"
        "heavy = {'openai', 'httpx2', 'genai_prices', 'pydantic', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("text", "smollm", "o200k"),
    [
        ("I went to the library with my sister and we found a book about the sea.", 17, 17),
        ("Månedsbudsjettet for API-kall er 300 kroner.", 23, 15),
        ("def area(width: float, height: float) -> float:\n    return width * height\n", 20, 19),
    ],
)
def test_estimates_lie_near_real_tokenizers(text, smollm, o200k):
    """The true counts are of the two tokenizers named in ``tokens``."""
    low, high = sorted((smollm, o200k))
    assert 0.75 * low <= estimate(text) <= 1.4 * high


def test_estimates_at_the_edges():
    assert estimate("") == 0
    assert estimate(" ") == 1
    assert estimate("日本語") >= 3
