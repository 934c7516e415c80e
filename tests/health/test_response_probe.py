"""What health tells of the response cache."""

from __future__ import annotations

from aiki_kernel.config import Paths
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probes.responses import ResponseCache as Probe
from aiki_kernel.models.response_cache import Kept, ResponseCache


def test_the_hit_rate_is_told_once_there_is_a_cache(plan: Plan, paths: Paths) -> None:
    assert Probe().measure(Moment(plan)) is None
    cache = ResponseCache(paths.responses, 1_000_000, 30.0)
    cache.get("a")
    cache.put("a", Kept("Oslo.", "stop", {"input_tokens": 1}, "m", "p"))
    for _ in range(3):
        cache.get("a")
        cache.saved(0.01)
    found = Probe().measure(Moment(plan))
    assert found is not None
    assert (found.state, found.value) == ("ok", 0.75)
    assert "3 of 4 hit (75%), $0.0300 saved; 1 answers" in found.reason
    cache.close()
    for suffix in ("", "-wal", "-shm"):
        paths.responses.with_name(paths.responses.name + suffix).unlink(missing_ok=True)
    paths.responses.write_bytes(b"not a database" * 100)
    broken = Probe().measure(Moment(plan))
    assert broken is not None
    assert broken.state == "degraded"
    assert "delete" in broken.reason
