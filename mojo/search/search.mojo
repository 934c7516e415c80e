"""One query against one index: scan, re-score, sort. Four ways of scanning.

exact   float32 rows are scanned, the best few are scored again in float64.
codes8  8-bit codes are scanned, the best `few` rows are scored exactly.
codes1  1-bit codes are scanned, the best `depth` rows are scored by their 8-bit codes, and
        the best `few` of those exactly.
lists   as codes1, but only rows in chosen lists of the coarse index are scanned.
"""
from std.math import sqrt
from lanes import (
    BLOCK_ROWS,
    Bytes,
    CHUNK,
    Doubles,
    Floats,
    Ints,
    Keys,
    Longs,
    Shorts,
    SignedBytes,
    round_up,
)
from best import clear, row_of, score_of
from codes1 import Source, build_tables, sign_bytes, table_bytes
from codes8 import PAD, SLACK, encode_query8, rescore8, scan8
from dot import rescore, scan_exact
from lists import Blocks, Lists, Walk
from sieve import MARKS, capacity, sift_rows

comptime EXACT = 0
comptime CODES8 = 1
comptime CODES1 = 2
comptime LISTS = 3
comptime LONGEST = Float64(1e32)  # the square of the longest vector that is taken


@fieldwise_init
struct Index(TrivialRegisterPassable):
    """Addresses of an index's parts and its shape; checked before it is made."""

    var rows: Floats
    var codes8: Bytes
    var scales: Floats
    var codes1: Bytes
    var dim: Int
    var lists: Lists


@fieldwise_init
struct Plan(TrivialRegisterPassable):
    """What is asked of every query of a call."""

    var method: Int
    var n: Int
    var k: Int
    var depth: Int
    var few: Int
    var cosine: Bool
    var guess: Bool
    var filtered: Bool
    var bitmap: Bytes
    var probes: Int  # lists chosen for each query


@always_inline
def aligned(n: Int) -> Int:
    """Bytes rounded up to whole cache lines."""
    return round_up(n, 64)


def scratch_bytes(dim: Int, plan: Plan) -> Int:
    """Working memory of a call; the order is that of `answer`."""
    var total = aligned(round_up(dim, 24) * 4) + aligned(dim * 8) + aligned(round_up(dim, PAD))
    total += aligned(table_bytes(dim)) + CHUNK * 2 + aligned(MARKS * 8) + aligned(Blocks * 4)
    total += (
        aligned(capacity(plan.depth) * 8)
        + aligned((plan.few + SLACK + 1) * 8)
        + aligned(plan.k * 8)
    )
    total += aligned(round_up(capacity(plan.depth), 64) * 4)
    return total + 64


@always_inline
def sifted(
    index: Index,
    plan: Plan,
    chosen: Longs,
    tables: Bytes,
    guess: Bool,
    sums: Shorts,
    marks: Keys,
    visited: Ints,
    sieve: Keys,
) -> Int:
    """Fill the sieve by 1-bit estimates, of all rows or of the chosen lists."""
    var stride = sign_bytes(index.dim) * BLOCK_ROWS
    var lists = index.lists
    var walk = Walk(lists, chosen, plan.probes, 0, -1, lists.blocks, visited)
    if plan.method == LISTS:
        return sift_rows[True](
            Source(lists.codes, stride, index.dim, tables),
            walk,
            plan.n,
            plan.bitmap,
            plan.filtered,
            plan.depth,
            guess,
            sums,
            marks,
            sieve,
        )
    return sift_rows[False](
        Source(index.codes1, stride, index.dim, tables),
        walk,
        plan.n,
        plan.bitmap,
        plan.filtered,
        plan.depth,
        guess,
        sums,
        marks,
        sieve,
    )


@always_inline
def answer(
    index: Index,
    plan: Plan,
    query: Floats,
    chosen: Longs,
    scratch: Bytes,
    scores: Floats,
    found: Longs,
) -> Int:
    """Write the best k rows of one query, best first; returns how many there were, or -1 for
    a query that is not finite or too long. `chosen` are the lists to look into, if any.
    """
    var dim = index.dim
    var at = scratch
    var padded = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(aligned(round_up(dim, 24) * 4))
    var exact = at.unsafe_bitcast[Float64]()
    at = at.unsafe_offset(aligned(dim * 8))
    var coded = at.unsafe_bitcast[Int8]()
    at = at.unsafe_offset(aligned(round_up(dim, PAD)))
    var tables = at
    at = at.unsafe_offset(aligned(table_bytes(dim)))
    var sums = at.unsafe_bitcast[UInt16]()
    at = at.unsafe_offset(CHUNK * 2)
    var marks = at.unsafe_bitcast[UInt64]()
    at = at.unsafe_offset(aligned(MARKS * 8))
    var visited = at.unsafe_bitcast[Int32]()
    at = at.unsafe_offset(aligned(Blocks * 4))
    var sieve = at.unsafe_bitcast[UInt64]()
    at = at.unsafe_offset(aligned(capacity(plan.depth) * 8))
    var few = at.unsafe_bitcast[UInt64]()
    at = at.unsafe_offset(aligned((plan.few + SLACK + 1) * 8))
    var best = at.unsafe_bitcast[UInt64]()
    at = at.unsafe_offset(aligned(plan.k * 8))
    var scores8 = at.unsafe_bitcast[Float32]()

    var squares = SIMD[DType.float64, 8](0)
    var j = 0
    while j + 8 <= dim:
        var x = query.unsafe_load[width=8](j)
        var wide = x.cast[DType.float64]()
        padded.unsafe_store(j, x)
        exact.unsafe_store(j, wide)
        squares = wide.fma(wide, squares)
        j += 8
    var square = squares.reduce_add()
    while j < dim:
        var wide = Float64(query[unsafe_offset=j])
        padded[unsafe_offset=j] = query[unsafe_offset=j]
        exact[unsafe_offset=j] = wide
        square = wide.fma(wide, square)
        j += 1
    while j < round_up(dim, 24):
        padded[unsafe_offset=j] = 0
        j += 1
    if not (square <= LONGEST):
        return -1
    var scale = Float64(1)
    if plan.cosine:
        scale = 1 / sqrt(square) if square > 0 else Float64(0)

    var kept = plan.few
    if plan.method >= CODES1:
        build_tables(padded, dim, tables)
        var count = sifted(index, plan, chosen, tables, plan.guess, sums, marks, visited, sieve)
        if plan.guess and plan.filtered and count < plan.depth:
            count = sifted(index, plan, chosen, tables, False, sums, marks, visited, sieve)
        var offset = encode_query8(padded, dim, coded)
        kept = rescore8(
            index.codes8,
            index.scales,
            coded,
            offset,
            round_up(dim, PAD),
            sieve,
            count,
            scores8,
            few,
            plan.few,
        )
    elif plan.method == CODES8:
        var offset = encode_query8(padded, dim, coded)
        scan8(
            index.codes8,
            index.scales,
            coded,
            offset,
            plan.n,
            round_up(dim, PAD),
            plan.bitmap,
            plan.filtered,
            few,
            plan.few,
        )
    else:
        scan_exact(index.rows, padded, plan.n, dim, plan.bitmap, plan.filtered, few, plan.few)
    rescore(index.rows, exact, scale, dim, few, kept, best, plan.k)
    var count = 0
    while count < plan.k and best[unsafe_offset=count] != 0:
        var key = best[unsafe_offset=count]
        scores[unsafe_offset=count] = score_of(key)
        found[unsafe_offset=count] = Int64(row_of(key))
        count += 1
    return count


def answer_all(
    index: Index,
    plan: Plan,
    queries: Floats,
    count: Int,
    chosen: Longs,
    scratch: Bytes,
    scores: Floats,
    found: Longs,
) -> Int:
    """Answer `count` queries one after another; returns the least number of rows found, or -1."""
    var least = plan.k
    for i in range(count):
        var n = answer(
            index,
            plan,
            queries.unsafe_offset(i * index.dim),
            chosen.unsafe_offset(i * plan.probes),
            scratch,
            scores.unsafe_offset(i * plan.k),
            found.unsafe_offset(i * plan.k),
        )
        least = min(least, n)
    return least
