"""From a message and its conversation to a decision: pins first, then the chosen router.

Cards and prices are read off the event loop, and the learned router's file too. The
embedding is asked for only where the learned router reads one, beside recall, and not
waited for longer than :data:`EMBED_S`: without it measures and words decide, and the
decision says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.mind import router
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Candidate, Decision
from aiki_kernel.mind.persona import ANY, AllowedModels
from aiki_kernel.mind.router import Cascade, Fixed, Judged, Question, Router
from aiki_kernel.mind.routing import judges
from aiki_kernel.mind.routing.candidates import candidates, demand, seeing
from aiki_kernel.models.catalogue import AUTO, LOCAL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.config import Settings

_FRAME = 200  # tokens of instructions around a distilled problem
EMBED_S = 5.0  # recall, which has to embed the same message, is waited for anyway

Embed = Callable[[str], Awaitable["NDArray[np.float32]"]]
"""The embedding of a message by the memory's own embedder."""


class Planned(Protocol):
    """What the loop asks for a decision."""

    async def decide(
        self, message: Message, conversation: Conversation, allowed: AllowedModels = ANY
    ) -> Decision: ...


class Planner:
    """Decides for many conversations at once. ``home`` is ``AIKI_HOME``."""

    def __init__(self, settings: Settings, home: Path, embed: Embed | None = None) -> None:
        self.settings = settings
        self.home = home
        self._embed = embed
        self._read: tuple[tuple[int, int], judges.LearnedJudge] | None = None

    async def decide(
        self, message: Message, conversation: Conversation, allowed: AllowedModels = ANY
    ) -> Decision:
        """The decision for ``message``; a router weighs ``allowed`` models only.

        Raises :class:`ModelError` when a pin cannot be kept.
        """
        chosen = chosen_model(message, conversation)
        if chosen is not None:
            return chosen
        if not conversation.route and self.router_name(conversation) == "fixed":
            return self._as_set(message)
        return await self.weigh(message, conversation, allowed=allowed)

    async def weigh(
        self,
        message: Message,
        conversation: Conversation,
        name: str | None = None,
        allowed: AllowedModels = ANY,
    ) -> Decision:
        """The session's tier, if it is pinned to one, else what the router decides; with
        ``name`` the router called so, whatever is pinned."""
        found, saved = await asyncio.to_thread(self._weighed, message, conversation, allowed)
        tier = conversation.route
        if name is None and tier == "consult":
            forced = router.consulting(found, _saving(saved, "forced for this session"))
            if forced is None and allowed:
                return self._as_set(message)
            if forced is None:
                raise ModelError(
                    "A consultation wants a smart model and a cheap or local one: set a key, name "
                    "them under [routing], or `%aiki_route auto`."
                )
            return forced
        if name is None and tier and tier != AUTO:
            decision = router.pinned(tier, found)
            if decision is None and allowed:
                return self._as_set(message)
            if decision is None:
                raise ModelError(
                    f"This session is pinned to {tier}, and no {tier} model can be used: set a "
                    f"key, name one under [routing] {tier}, or `%aiki_route auto`."
                )
            return decision
        name = name or self.router_name(conversation)
        made, judge = await asyncio.to_thread(self.router, name)
        vector, note = await self._vector(message.text, judge)
        decision = made.decide(Question(message.text, found, vector))
        # An insight is given on words alone: whoever has to see answers by himself.
        blind = any(one.image for one in message.attached)
        if not blind and self._worth_consulting(decision, saved):
            decision = router.consulting(found, _saving(saved, ""), decision) or decision
        return replace(decision, reasons=(*decision.reasons, note)) if note else decision

    def _as_set(self, message: Message) -> Decision:
        """The model of the settings; where a persona may not use it, the loop says whom."""
        return Fixed(default(self.settings)).decide(Question(message.text, ()))

    def _worth_consulting(self, decision: Decision, saved: float | None) -> bool:
        """Whether a message that is hard enough for the smart model is cheaper by an insight."""
        wanted = self.settings.consult
        hard = any(
            one.tier == "smart" and one.model == decision.model for one in decision.candidates
        )
        return wanted.when == "auto" and hard and saved is not None and saved >= wanted.least_saving

    def _weighed(
        self, message: Message, conversation: Conversation, allowed: AllowedModels
    ) -> tuple[tuple[Candidate, ...], float | None]:
        """The best model of each tier with what it would cost, and the share of the smart one's
        cost that a consultation would save (None: unknown). Blocks: call from a thread."""
        from aiki_kernel.models.cards import by_tier

        generation = self.settings.generation
        wanted = demand(
            message.text,
            conversation.before(message),
            system=generation.system,
            context=generation.context_tokens,
            recall=self.settings.memory.recall_tokens if self.settings.memory.recall_k else 0,
            longest=generation.max_tokens,
            attached=sum(one.tokens for one in message.attached),
        )
        images = any(one.image for one in message.attached)
        tiers = {
            str(tier): seeing(fitting) if images else fitting[0]
            for tier, cards in by_tier(self.settings).items()
            if (fitting := [one for one in cards if allowed.allows(one)])
        }
        found = candidates(tiers, wanted, images=images)
        smart, does = tiers.get("smart"), tiers.get("cheap") or tiers.get("local")
        direct = next((one.cost_usd for one in found if one.tier == "smart"), None)
        if smart is None or does is None or not direct:
            return found, None
        consult = self.settings.consult
        asked = smart.cost_usd(consult.problem_tokens + _FRAME, consult.insight_tokens)
        cached = wanted.cacheable if does.name == wanted.warm else 0
        work = does.cost_usd(wanted.prompt + consult.insight_tokens, wanted.answer, cached)
        saved = None if asked is None or work is None else 1.0 - (asked + work) / direct
        return found, saved

    def router_name(self, conversation: Conversation) -> str:
        """Which router decides where nothing is pinned by name."""
        name: str = self.settings.routing.router
        handed_over = AUTO in (conversation.model, conversation.route, self.settings.model)
        if name == "fixed" and handed_over:
            return "learned" if self._file().exists() else "rules"
        return name

    def router(self, name: str) -> tuple[Router, judges.LearnedJudge | None]:
        """The router called ``name``. A learned one that cannot be read is said, and length
        judges in its place."""
        fallback = default(self.settings)
        value = self.settings.routing.answer_value_usd
        if name == "fixed":
            return Fixed(fallback), None
        if name == "length":
            return Judged(judges.Length(), value, fallback), None
        if name == "rules":
            return Judged(judges.Rules(), value, fallback), None
        notes: tuple[str, ...] = ()
        learned: judges.LearnedJudge | None = None
        if name == "learned" or self._file().exists():
            try:
                learned = self._learned()
            except AikiError as error:
                notes = (f"{error} Until then length decides.",)
        judge: judges.Judge = learned or judges.Length()
        if name == "cascade":
            return Cascade(judge, fallback, notes), learned
        return Judged(judge, value, fallback, notes), learned

    def _file(self) -> Path:
        return self.home / "router" / "learned.npz"

    def _learned(self) -> judges.LearnedJudge:
        """Read the file, or keep what was read while the file is the same."""
        from aiki_kernel.mind.routing.learned import load

        path = self._file()
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, judges.LearnedJudge(load(path)))
        return self._read[1]

    async def _vector(
        self, text: str, judge: judges.LearnedJudge | None
    ) -> tuple[NDArray[np.float32] | None, str]:
        if judge is None or not judge.learned.about.embedder or self._embed is None:
            return None, ""
        if judge.learned.about.embedder != self.settings.memory.embedder:
            return None, (
                f"trained with {judge.learned.about.embedder}, the memory now embeds with "
                f"{self.settings.memory.embedder}: run `aiki route train`"
            )
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(EMBED_S):
                return await self._embed(text), ""
        except (AikiError, TimeoutError, OSError) as error:
            seconds = time.perf_counter() - begun
            return None, f"no embedding after {seconds:.1f} s ({type(error).__name__})"


def _saving(saved: float | None, why: str) -> str:
    """The expected saving against the smart model alone, in words."""
    if saved is None:
        told = "what it saves is unknown"
    elif saved >= 0:
        told = f"saves about {100 * saved:.0f} % against the smart model alone"
    else:
        told = f"costs about {-100 * saved:.0f} % more than the smart model alone"
    return f"{why}: {told}" if why else told


def chosen_model(message: Message, conversation: Conversation) -> Decision | None:
    """The decision where a model was chosen by name: for the message, or for the session."""
    if message.model and message.model != AUTO:
        return Decision(message.model, "chosen for this message")
    if conversation.model and conversation.model != AUTO:
        return Decision(conversation.model, "chosen for this session")
    return None


def default(settings: Settings) -> str:
    """The model of the settings; where that is the router itself, this machine's."""
    return LOCAL if settings.model == AUTO else settings.model
