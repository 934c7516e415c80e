"""Settings of models: what is known of them, who chooses one, and what may be spent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of ``aiki.toml``. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Tier = Literal["smart", "standard", "cheap", "local"]


class Card(Section):
    """What you know of one model better than the price list does. Prices are USD per million
    tokens; without a cache price, cached tokens cost what others cost."""

    tier: Tier | None = Field(None, description="which chain it belongs to")
    window: int | None = Field(None, gt=0, description="tokens that fit, prompt and answer")
    input_price: float | None = Field(None, ge=0, description="USD per million tokens")
    output_price: float | None = Field(None, ge=0, description="USD per million tokens")
    cache_read_price: float | None = Field(None, ge=0, description="of tokens read from its cache")
    cache_write_price: float | None = Field(None, ge=0, description="of tokens written to it")
    streaming: bool | None = Field(None, description="sends an answer as it grows")
    json_schema: bool | None = Field(None, description="can be held to a schema")
    seed: bool | None = Field(None, description="takes a seed")
    logprobs: bool | None = Field(None, description="gives log-probabilities")
    vision: bool | None = Field(None, description="sees images")

    @property
    def priced(self) -> bool:
        """Whether it says anything of prices; it then says all of them."""
        return self.input_price is not None or self.output_price is not None


class Models(Section):
    """What is known of models, by name: ``[models.cards."ENDPOINT/MODEL"]``."""

    cards: dict[str, Card] = Field({}, description="by name")


class Routing(Section):
    """Who decides which model answers, and the models of each tier, best first. Unset: the
    cheapest that has a key comes first.

    A model that fails before its first token is followed by the next of its tier.
    """

    router: Literal["fixed", "length", "rules", "learned", "cascade"] = Field(
        "fixed", description="'fixed' is the model of the settings"
    )
    answer_value_usd: float = Field(
        0.10, ge=0, description="what a right answer is worth; a router weighs it against cost"
    )
    cascade_logprob: float = Field(
        -0.5, le=0, description="mean log-probability below which a first answer is not trusted"
    )
    cascade_agreement: float = Field(
        0.5, ge=0, le=1, description="agreement of two samples below which neither is trusted"
    )
    smart: tuple[str, ...] | None = Field(None, description="the smart models, best first")
    standard: tuple[str, ...] | None = Field(None, description="the standard ones")
    cheap: tuple[str, ...] | None = Field(None, description="the cheap ones")
    local: tuple[str, ...] | None = Field(None, description="those on this machine")
    fallback: bool = Field(True, description="ask the next model of a tier when one fails")
    breaker_failures: int = Field(3, ge=1, description="in a row, before a model is left alone")
    breaker_open_s: float = Field(30.0, gt=0, description="at first; doubles while it fails")


class Consult(Section):
    """When a smart model is asked for one insight and a cheap one does the work."""

    when: Literal["off", "auto"] = Field(
        "off", description="'auto': when the router would take the smart model and it saves enough"
    )
    least_saving: float = Field(
        0.3, ge=0, le=1, description="share of the smart model's cost that has to be saved"
    )
    confidence: float = Field(
        0.6, ge=0, le=1, description="calibrated confidence below which the smart model answers"
    )
    problem_tokens: int = Field(800, gt=0, description="budget of what the smart model is shown")
    insight_tokens: int = Field(500, gt=0, description="budget of what it may answer")
    match: float = Field(
        0.75, gt=0, le=1, description="how sure it has to be that a stored insight fits a message"
    )
    valid_days: float = Field(90.0, gt=0, description="how long an insight may be used again")


class Budget(Section):
    """Caps in USD. A call that could pass one is refused before it is made; local models never.

    A day is yours (local time); a cell is one run of it, with all the calls that it makes.
    """

    day_usd: float | None = Field(None, ge=0, description="most a day")
    session_usd: float | None = Field(None, ge=0, description="most a session")
    cell_usd: float | None = Field(None, ge=0, description="most a cell")
    unknown_prices: Literal["refuse", "allow"] = Field(
        "refuse", description="calls whose price is unknown, while there is a cap"
    )
