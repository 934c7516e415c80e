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
    return padded * size + QUERIES * padded


@always_inline
def scores[
    SIZE: Int, M: Int
](rows: Floats, stride: Int, keys: Floats, padded: Int, length: Int, weights: Floats):
    """M queries against all keys: weights become powers of two of the differences to each
    query's best score; what lies beyond the sequence's end is not used.
    """
    var best = Array[F, M](fill=F(Float32.MIN_FINITE))
    var lanes = F(0)
    comptime for i in range(LANES):
        lanes[i] = Float32(i)
    for j in range(0, padded, LANES):
        var acc = Array[F, M](fill=F(0))
        for d in range(SIZE):
            var k = keys.unsafe_load[width=LANES](d * padded + j)
            comptime for r in range(M):
                acc[r] = k.fma(F(rows[unsafe_offset=r * stride + d]), acc[r])
        var inside = lanes.lt(F(Float32(length - j)))
        comptime for r in range(M):
            var s = inside.select(acc[r], F(Float32.MIN_FINITE))
            best[r] = max(best[r], s)
            weights.unsafe_store(r * padded + j, s)
    comptime for r in range(M):
        var top = F(best[r].reduce_max())
        for j in range(0, padded, LANES):
            var s = weights.unsafe_load[width=LANES](r * padded + j)
            var p = power_of_two(s - top)
            weights.unsafe_store(r * padded + j, p)


@always_inline
def blend[
    SIZE: Int, M: Int
](rows: Floats, stride: Int, values: Floats, padded: Int, length: Int, weights: Floats):
    """Write the weighted means of the values over M queries."""
    comptime PARTS = SIZE // LANES
    var acc = Array[F, M * PARTS](fill=F(0))
    var total = Array[Float32, M](fill=0)
    for j in range(length):
        var v = Array[F, PARTS](fill=F(0))
        comptime for i in range(PARTS):
            v[i] = values.unsafe_load[width=LANES](j * stride + i * LANES)
        comptime for r in range(M):
            var p = weights[unsafe_offset=r * padded + j]
            total[r] += p
            comptime for i in range(PARTS):
                acc[r * PARTS + i] = v[i].fma(F(p), acc[r * PARTS + i])
    comptime for r in range(M):
        comptime for i in range(PARTS):
            rows.unsafe_store(r * stride + i * LANES, acc[r * PARTS + i] * F(1 / total[r]))


def attend[SIZE: Int](rows: Floats, length: Int, heads: Int, scratch: Floats):
    """All heads of one sequence of `length` rows of 3 * heads * SIZE floats."""
    var width = heads * SIZE
    var stride = 3 * width
    var padded = round_up(length, LANES)
    var weights = scratch.unsafe_offset(padded * SIZE)
    for h in range(heads):
        var q = rows.unsafe_offset(h * SIZE)
        var k = q.unsafe_offset(width)
        var v = q.unsafe_offset(2 * width)
        for j in range(length):
            comptime for d in range(SIZE):
                scratch[unsafe_offset=d * padded + j] = k[unsafe_offset=j * stride + d]
        for j in range(length, padded):
            comptime for d in range(SIZE):
                scratch[unsafe_offset=d * padded + j] = 0
        var i = 0
        while i < length:
            var some = q.unsafe_offset(i * stride)
            if length - i >= QUERIES:
                scores[SIZE, QUERIES](some, stride, scratch, padded, length, weights)
                blend[SIZE, QUERIES](some, stride, v, padded, length, weights)
                i += QUERIES
            elif length - i >= 2:
                scores[SIZE, 2](some, stride, scratch, padded, length, weights)
                blend[SIZE, 2](some, stride, v, padded, length, weights)
                i += 2
            else:
                scores[SIZE, 1](some, stride, scratch, padded, length, weights)
                blend[SIZE, 1](some, stride, v, padded, length, weights)
                i += 1
