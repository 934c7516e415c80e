"""Softmax attention of one sequence, in float32.

Queries, keys and values lie side by side in rows of three times the width; the result
replaces the queries. Queries come already divided by the root of the head's size and
multiplied by the logarithm of e, so that powers of two do.
"""
from curves import power_of_two
from registers import F, Floats, LANES, round_up

comptime QUERIES = 6  # rows whose sums fit into the registers


def attention_floats(longest: Int, size: Int) -> Int:
    """Working memory of `attend`, in floats."""
    var padded = round_up(longest, LANES)
    return 2 * padded * size + QUERIES * padded


@always_inline
def gather[
    SIZE: Int
](rows: Floats, values: Floats, stride: Int, length: Int, keys: Floats, near: Floats):
    """Copy a head's keys and values close together, for rows that lie far apart fall on the same
    few lines of the cache. Keys become columns: 16 keys have SIZE vectors; those beyond the
    sequence's end are zeros.
    """
    for j in range(0, round_up(length, LANES), 4):
        comptime for part in range(SIZE // LANES):
            var k = Array[F, 4](fill=F(0))
            comptime for i in range(4):
                if j + i < length:
                    var at = (j + i) * stride + part * LANES
                    k[i] = rows.unsafe_load[width=LANES](at)
                    near.unsafe_store(
                        (j + i) * SIZE + part * LANES, values.unsafe_load[width=LANES](at)
                    )
            var all = k[0].interleave(k[2]).interleave(k[1].interleave(k[3]))
            var to = keys.unsafe_offset(j // LANES * LANES * SIZE + j % LANES)
            comptime for d in range(LANES):
                to.unsafe_store((part * LANES + d) * LANES, all.slice[4, offset=4 * d]())


@always_inline
def scores[
    SIZE: Int, M: Int
](rows: Floats, stride: Int, keys: Floats, padded: Int, length: Int, weights: Floats) -> Array[
    Float32, M
]:
    """M queries against all keys: weights become powers of two of the differences to each
    query's best score. Returns the sums of the weights within the sequence.
    """
    var best = Array[F, M](fill=F(Float32.MIN_FINITE))
    var lanes = F(0)
    comptime for i in range(LANES):
        lanes[i] = Float32(i)
    for j in range(0, padded, LANES):
        var acc = Array[F, M](fill=F(0))
        for d in range(SIZE):
            var k = keys.unsafe_load[width=LANES](j * SIZE + d * LANES)
            comptime for r in range(M):
                acc[r] = k.fma(F(rows[unsafe_offset=r * stride + d]), acc[r])
        if j + LANES > length:
            var inside = lanes.lt(F(Float32(length - j)))
            comptime for r in range(M):
                acc[r] = inside.select(acc[r], F(Float32.MIN_FINITE))
        comptime for r in range(M):
            best[r] = max(best[r], acc[r])
            weights.unsafe_store(r * padded + j, acc[r])
    # what lies beyond the end weighs 2^-126 each, which is lost in sums that are at least one
    var totals = Array[Float32, M](fill=0)
    comptime for r in range(M):
        var top = F(best[r].reduce_max())
        var total = F(0)
        for j in range(0, padded, LANES):
            var p = power_of_two(weights.unsafe_load[width=LANES](r * padded + j) - top)
            weights.unsafe_store(r * padded + j, p)
            total += p
        totals[r] = total.reduce_add()
    return totals^


@always_inline
def some[
    SIZE: Int, M: Int
](q: Floats, stride: Int, keys: Floats, v: Floats, padded: Int, length: Int, weights: Floats):
    """M queries: write the weighted means of the values over them."""
    comptime PARTS = SIZE // LANES
    var totals = scores[SIZE, M](q, stride, keys, padded, length, weights)
    var acc = Array[F, M * PARTS](fill=F(0))
    for j in range(length):
        var row = v.unsafe_offset(j * SIZE)
        comptime for i in range(PARTS):
            var value = row.unsafe_load[width=LANES](i * LANES)
            comptime for r in range(M):
                var p = F(weights[unsafe_offset=r * padded + j])
                acc[r * PARTS + i] = value.fma(p, acc[r * PARTS + i])
    comptime for r in range(M):
        comptime for i in range(PARTS):
            q.unsafe_store(r * stride + i * LANES, acc[r * PARTS + i] * F(1 / totals[r]))


def attend[SIZE: Int](rows: Floats, length: Int, heads: Int, scratch: Floats):
    """All heads of one sequence of `length` rows of 3 * heads * SIZE floats."""
    var width = heads * SIZE
    var stride = 3 * width
    var padded = round_up(length, LANES)
    var values = scratch.unsafe_offset(padded * SIZE)
    var weights = values.unsafe_offset(padded * SIZE)
    var blocks = (length + QUERIES - 1) // QUERIES
    for h in range(heads):
        var q = rows.unsafe_offset(h * SIZE)
        var k = q.unsafe_offset(width)
        gather[SIZE](k, k.unsafe_offset(width), stride, length, scratch, values)
        var done = 0
        for b in range(blocks):
            var m = (length - done + blocks - b - 1) // (blocks - b)
            comptime for fixed in range(1, QUERIES + 1):
                if m == fixed:
                    some[SIZE, fixed](
                        q.unsafe_offset(done * stride),
                        stride,
                        scratch,
                        values,
                        padded,
                        length,
                        weights,
                    )
            done += m
