"""Caps on what may be spent in a day, a session and a cell, checked before each call.

The rule. A call may cost what its message costs, by our estimate of its tokens and a quarter
more, and an answer of ``max_tokens``. A cap is never passed: what is booked and what is held for
calls under way come off it first. What is left decides. A call that takes no more than half of it
is made as it is. One that may take more is made for half of what is left, or for the forecast of
its answer (see ``forecast``) where that is more, and its ``max_tokens`` is lowered to what that
pays for: so the money that is held is all that it can cost, and several notebooks share a small
rest. Where not even the forecast can be paid the call is refused before it is made. As long as
too few answers are known the forecast is ``max_tokens``, and nothing is lowered. The sum is
taken and the money held in one transaction of the ledger's file, so two notebooks cannot both
slip under the cap. What is held is let go when the call is booked; what a killed process held is
let go by whoever comes next.

While there is a cap, a call whose price nobody knows is refused too, since no cap could be
kept: give the price in ``[models.cards]``, or allow such calls with
``budget.unknown_prices``. Models on this machine, and those that cost nothing, always pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError
from aiki_kernel.mind import forecast
from aiki_kernel.mind.forecast import Forecast
from aiki_kernel.mind.ledger_file import LedgerError, LedgerFile
from aiki_kernel.models.cards import ModelCard
from aiki_kernel.models.cards import card as card_of
from aiki_kernel.models.chat import ChatRequest
from aiki_kernel.models.fallback import Admitted

if TYPE_CHECKING:
    from aiki_kernel.config import Settings

_MARGIN = 1.25  # the estimate of a message's tokens may be that much too low
_HELD_AT_MOST_S = 3600.0
_BOOKED_WITHIN_S = 600.0  # an answer may be long on its way from its first call to its end
_TINY = 1e-9  # USD: sums of floats

_HOLD = "INSERT INTO reservation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SETTLE = "UPDATE reservation SET usd = ?, expires = ? WHERE id = ?"
_RELEASE = "DELETE FROM reservation WHERE id = ?"
_HELD = "SELECT coalesce(sum(usd), 0.0) FROM reservation WHERE "
_SPENT = "SELECT coalesce(sum(cost_usd), 0.0), coalesce(sum(cost_usd IS NULL), 0) FROM entry WHERE "


class BudgetError(AikiError):
    """A call was refused because it could pass a cap. No call was made."""

    kind = "budget"


@dataclass(frozen=True)
class Cap:
    """One cap with what counts against it, in USD. ``held`` is for calls under way.

    ``unpriced`` counts booked calls whose cost nobody knows: they are not in ``spent``.
    """

    setting: str
    what: str
    limit: float
    spent: float
    held: float
    unpriced: int = 0

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.spent - self.held)

    def to_json(self) -> dict[str, Any]:
        return {
            "setting": f"budget.{self.setting}",
            "limit_usd": self.limit,
            "spent_usd": self.spent,
            "held_usd": self.held,
            "left_usd": self.left,
            "unpriced_calls": self.unpriced,
        }


@dataclass(frozen=True)
class Call:
    """A call that wants to be made: for whom, by which model, and how much it may take."""

    card: ModelCard
    stage: str
    session_id: str
    turn_id: str
    input_tokens: int
    output_tokens: int

    @property
    def counted_tokens(self) -> int:
        """Tokens of the message with the margin of the estimate."""
        return math.ceil(self.input_tokens * _MARGIN)

    @property
    def most_usd(self) -> float | None:
        """What it may cost at most, or None where a price is unknown.

        Writing to the provider's cache may cost more than plain input, and nobody asks us.
        """
        tokens, made = self.counted_tokens, self.output_tokens
        plain = self.card.cost_usd(tokens, made)
        written = self.card.cost_usd(tokens, made, cache_write_tokens=tokens)
        return None if plain is None or written is None else max(plain, written)

    def affordable(self, usd: float) -> int:
        """How many tokens of answer ``usd`` pays for, at most :attr:`output_tokens`; below zero
        when it does not even pay for the message."""
        low, high = -1, self.output_tokens
        while low < high:  # prices may come in steps, so the cost is asked for, not inverted
            middle = (low + high + 1) // 2
            cost = replace(self, output_tokens=middle).most_usd
            if cost is not None and cost <= usd + _TINY:
                low = middle
            else:
                high = middle - 1
        return low

    @property
    def input_price(self) -> float:
        """USD per million tokens of the message, as :attr:`most_usd` counts them."""
        price = self.card.price.at(self.counted_tokens)
        return max(price.input or 0.0, price.cache_write or 0.0)


class Budget:
    """The caps of ``settings``, over the ledger's ``file``. Serves as a fallback's gate."""

    def __init__(self, file: LedgerFile, settings: Settings) -> None:
        self._file = file
        self._settings = settings

    async def admit(self, request: ChatRequest, card: ModelCard) -> Admitted:
        """Hold the money for ``request``: the ticket to release it by ("" when none is held)
        and how long its answer may be.

        Raises :class:`BudgetError`, one line, when the call cannot be paid under a cap.
        """
        call = Call(
            card,
            request.stage,
            request.session_id,
            request.turn_id,
            request.prompt_tokens,
            request.max_tokens,
        )
        return await self._admit(call, lower=True)

    async def settle(self, ticket: str, usd: float) -> None:
        """Hold ``usd`` from now on: the call has ended, and is about to be booked."""
        if ticket:
            row = (usd, time.time() + _BOOKED_WITHIN_S, ticket)
            await asyncio.to_thread(self._write, _SETTLE, row)

    async def release(self, ticket: str) -> None:
        """Let go of what is held under ``ticket``: the call was not made, or is booked."""
        if ticket:
            await asyncio.to_thread(self._write, _RELEASE, (ticket,))

    @contextlib.asynccontextmanager
    async def reserve(
        self,
        model: str,
        *,
        stage: str,
        input_tokens: int,
        output_tokens: int,
        session_id: str = "",
        turn_id: str = "",
    ) -> AsyncIterator[str]:
        """Hold the money for one call while the block runs; book the call within the block.

        For calls that do not go through the model port, which asks by itself, and whose
        length cannot be lowered. Raises :class:`BudgetError` before the block begins.
        """
        card = await asyncio.to_thread(card_of, self._settings, model)
        call = Call(card, stage, session_id, turn_id, input_tokens, output_tokens)
        ticket = (await self._admit(call, lower=False)).ticket
        try:
            yield ticket
        finally:
            await asyncio.shield(self.release(ticket))

    def state(self, *, session_id: str = "", turn_id: str = "") -> list[Cap]:
        """The caps that are set, and how far each is used up. Blocks: call from a thread."""
        if not self._caps() or not self._file.path.exists():
            return [Cap(name, what, limit, 0.0, 0.0) for name, what, limit in self._caps()]

        def read(db: sqlite3.Connection) -> list[Cap]:
            return self._sums(db, session_id, turn_id)

        return self._file.use(read, verb="read")

    # -- within -------------------------------------------------------------------------

    def _caps(self) -> list[tuple[str, str, float]]:
        budget = self._settings.budget
        named = [
            ("day_usd", "today", budget.day_usd),
            ("session_usd", "in this session", budget.session_usd),
            ("cell_usd", "by this cell", budget.cell_usd),
        ]
        return [(name, what, limit) for name, what, limit in named if limit is not None]

    async def _admit(self, call: Call, *, lower: bool) -> Admitted:
        free = Admitted("", call.output_tokens)
        if call.card.local or not self._caps():
            return free
        if call.most_usd is None:
            if self._settings.budget.unknown_prices == "allow":
                return free
            raise BudgetError(self._unknown(call.card))
        if call.most_usd == 0:
            return free
        try:
            return await self._held(call, lower)
        except LedgerError as error:
            raise BudgetError(
                f"The budget cannot be checked, so nothing may be spent. {error}"
            ) from None

    async def _held(self, call: Call, lower: bool) -> Admitted:
        ticket = uuid.uuid4().hex
        work = asyncio.ensure_future(asyncio.to_thread(self._hold, call, lower, ticket))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread goes on: what it holds in the end must not stay held.
            loop = asyncio.get_running_loop()
            drop = functools.partial(self._write, _RELEASE, (ticket,))
            work.add_done_callback(lambda _: loop.run_in_executor(None, drop))
            raise

    def _hold(self, call: Call, lower: bool, ticket: str) -> Admitted:
        process = (socket.gethostname(), *_this_process())
        whose = (call.session_id, call.turn_id, call.stage, call.card.name)

        def take(db: sqlite3.Connection) -> Admitted:
            likely = Forecast(call.output_tokens)
            if lower:
                likely = forecast.of_past(db, call.card.name, call.stage, call.output_tokens)
            db.execute("BEGIN IMMEDIATE")
            with db:
                _drop_stale(db)
                made, tightest = call, ""
                for cap in self._sums(db, call.session_id, call.turn_id):
                    fits = _within(cap, call, likely)
                    if fits is None:
                        raise BudgetError(_refusal(cap, call, likely))
                    if fits < made.output_tokens:
                        made, tightest = replace(call, output_tokens=fits), cap.setting
                now, usd = time.time(), made.most_usd or 0.0
                times = (now, now + _HELD_AT_MOST_S)
                row: tuple[Any, ...] = (ticket, *times, *whose, usd, *process)
                db.execute(_HOLD, row)
            return Admitted(ticket, made.output_tokens, _lowered(made, tightest))

        return self._file.use(take, verb="written")

    def _write(self, statement: str, row: tuple[Any, ...]) -> None:
        def write(db: sqlite3.Connection) -> None:
            with db:
                db.execute(statement, row)

        with contextlib.suppress(LedgerError):  # it lapses by itself, and blocks nothing but money
            self._file.use(write, verb="written")

    def _sums(self, db: sqlite3.Connection, session_id: str, turn_id: str) -> list[Cap]:
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        keys: dict[str, tuple[str, Any]] = {
            "day_usd": ("at >= ?", midnight.timestamp()),
            "session_usd": ("session_id = ?", session_id),
            "cell_usd": ("turn_id = ?", turn_id),
        }
        caps = []
        for setting, what, limit in self._caps():
            test, value = keys[setting]
            if value == "":
                continue
            spent, unpriced = db.execute(_SPENT + test, (value,)).fetchone()
            (held,) = db.execute(_HELD + test, (value,)).fetchone()
            caps.append(Cap(setting, what, limit, spent, held, unpriced))
        return caps

    def _unknown(self, card: ModelCard) -> str:
        names = " and ".join(f"budget.{name}" for name, _, _ in self._caps())
        return (
            f"The price of {card.name} is unknown, so {names} could not be kept and it was not "
            f"asked: give its price (`aiki config set models.cards.{card.name}.input_price USD` "
            "a million tokens, output_price likewise), or allow it with "
            "`aiki config set budget.unknown_prices allow`."
        )


def _within(cap: Cap, call: Call, likely: Forecast) -> int | None:
    """How long the answer to ``call`` may be under ``cap``; None when it is to be refused."""
    left = cap.limit - cap.spent - cap.held
    if call.affordable(left) < likely.tokens:
        return None
    return max(call.affordable(left / 2), likely.tokens)


def _lowered(call: Call, setting: str) -> str:
    """What is said under an answer that ended at a limit which the budget has set."""
    if not setting:
        return ""
    return (
        f"The answer could have {call.output_tokens:,} tokens at most, which is what "
        f"budget.{setting} leaves for it: raise that for longer ones."
    )


def _refusal(cap: Cap, call: Call, likely: Forecast) -> str:
    call = replace(call, output_tokens=likely.tokens)
    usd = call.most_usd or 0.0
    price = call.card.price.at(call.counted_tokens)
    past = f"by its last {likely.answers} answers " if likely.answers else ""
    held = f" and {_usd(cap.held)} held for calls under way" if cap.held else ""
    calls = f"{cap.unpriced} {'call' if cap.unpriced == 1 else 'calls'}"
    unknown = f" (and {calls} of unknown price)" if cap.unpriced else ""
    enough = _round_up(cap.spent + cap.held + usd)
    return (
        f"{call.card.name} was not asked: {_usd(cap.spent)} is spent {cap.what}{held}{unknown}, "
        f"this call could cost up to {_usd(usd)} (about {call.counted_tokens:,} tokens in at "
        f"${call.input_price:g} and {past}at most {call.output_tokens:,} out at "
        f"${price.output or 0:g} per million), and the cap is {_usd(cap.limit)}: raise it with "
        f"`aiki config set budget.{cap.setting} {enough}`, allow shorter answers with "
        "generation.max_tokens, or pick a model of this machine with %aiki_model local."
    )


def _round_up(usd: float) -> str:
    """The next figure of two digits that is enough: 0.0123 -> 0.013."""
    digits = 1 - math.floor(math.log10(max(usd, 1e-6)))
    return f"{math.ceil(usd * 10**digits * (1 - 1e-9)) / 10**digits:.{max(digits, 0)}f}"


def _usd(amount: float) -> str:
    if amount == 0:
        return "$0"
    digits = max(2, 1 - math.floor(math.log10(amount)))
    return f"${amount:.{min(digits, 8)}f}"


def _drop_stale(db: sqlite3.Connection) -> None:
    """Let go of what lapsed, and of what processes of this machine held that are no more."""
    db.execute("DELETE FROM reservation WHERE expires < ?", (time.time(),))
    host = socket.gethostname()
    rows = db.execute("SELECT DISTINCT pid, begun FROM reservation WHERE host = ?", (host,))
    for pid, begun in rows.fetchall():
        if not _alive(pid, begun):
            db.execute(
                "DELETE FROM reservation WHERE host = ? AND pid = ? AND begun = ?",
                (host, pid, begun),
            )


def _this_process() -> tuple[int, float]:
    import psutil

    pid = os.getpid()
    return pid, psutil.Process(pid).create_time()


def _alive(pid: int, begun: float) -> bool:
    """Whether the process that began then still runs; a number may be given out again."""
    import psutil

    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - begun) < 1.0
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # it is there, and not ours to look into
