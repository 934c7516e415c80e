"""Attention over a half-precision cache, a block of keys at a time (online softmax).

Keys of one layer and head lie in tiles of 16: (tile, head, 16), so that a register holds one
component of 16 keys and scores need no sums across lanes. Values lie as (position, padded head).
P queries share every read of the cache: the heads of a group, or of several tokens.
"""
from std.math import exp, iota
from registers import F16, Floats, Halves, I16, Ints

comptime KEYS = 64  # keys of a block
comptime NEVER = Float32(-1e30)


@fieldwise_init
struct Cache(TrivialRegisterPassable):
    """Keys and values of one layer and head."""

    var keys: Halves
    var values: Halves
    var head: Int
    var padded: Int


@fieldwise_init
struct Asking(TrivialRegisterPassable):
    """P queries in work: `query` (head, P), already scaled; `limits` keys seen by each; `weights`
    (P, KEYS) is room; `sums` (P, padded), `most` and `total` are the softmax so far.
    """

    var query: Floats
    var limits: Ints
    var weights: Floats
    var sums: Floats
    var most: Floats
    var total: Floats


@always_inline
def begin[P: Int](a: Asking, padded: Int):
    """Nothing has been seen yet."""
    for i in range(P * padded // 16):
        a.sums.unsafe_store(i * 16, F16(0))
    for j in range(P):
        a.most[unsafe_offset=j] = NEVER
        a.total[unsafe_offset=j] = 0


@always_inline
def score[P: Int](a: Asking, c: Cache, first: Int, tiles: Int):
    """Scores of one block of keys into `weights`."""
    for z in range(tiles):
        var acc = Array[F16, P](fill=F16(0))
        var k = c.keys.unsafe_offset((first // 16 + z) * c.head * 16)
        for i in range(c.head):
            var column = k.unsafe_load[width=16](i * 16).cast[DType.float32]()
            comptime for j in range(P):
                acc[j] = column.fma(F16(a.query[unsafe_offset=i * P + j]), acc[j])
        var number = iota[DType.int32, 16]() + Int32(first + z * 16)
        comptime for j in range(P):
            var seen = number.lt(I16(a.limits[unsafe_offset=j]))
            a.weights.unsafe_store(j * KEYS + z * 16, seen.select(acc[j], F16(NEVER)))


@always_inline
def soften[P: Int](a: Asking, padded: Int, tiles: Int):
    """Scores to weights; what was summed before is scaled to the new maximum."""
    for j in range(P):
        var w = a.weights.unsafe_offset(j * KEYS)
        var top = w.unsafe_load[width=16](0)
        for z in range(1, tiles):
            top = max(top, w.unsafe_load[width=16](z * 16))
        var before = a.most[unsafe_offset=j]
        var most = max(before, top.reduce_max())
        var sum = F16(0)
        for z in range(tiles):
            var e = exp(w.unsafe_load[width=16](z * 16) - most)
            w.unsafe_store(z * 16, e)
            sum += e
        var factor = exp(before - most)
        a.most[unsafe_offset=j] = most
        a.total[unsafe_offset=j] = a.total[unsafe_offset=j] * factor + sum.reduce_add()
        if factor != 1:
            var o = a.sums.unsafe_offset(j * padded)
            for i in range(padded // 16):
                o.unsafe_store(i * 16, o.unsafe_load[width=16](i * 16) * factor)


@always_inline
def gather[P: Int, W: Int](a: Asking, c: Cache, first: Int, count: Int, at: Int):
    """Add the weighted values of a block, for 16 * W components from `at`."""
    var acc = Array[F16, P * W](fill=F16(0))
    comptime for j in range(P):
        comptime for i in range(W):
            acc[j * W + i] = a.sums.unsafe_load[width=16](j * c.padded + at + i * 16)
    for key in range(count):
        var v = c.values.unsafe_offset((first + key) * c.padded + at)
        var parts = Array[F16, W](fill=F16(0))
        comptime for i in range(W):
            parts[i] = v.unsafe_load[width=16](i * 16).cast[DType.float32]()
        comptime for j in range(P):
            var w = F16(a.weights[unsafe_offset=j * KEYS + key])
            comptime for i in range(W):
                acc[j * W + i] = w.fma(parts[i], acc[j * W + i])
    comptime for j in range(P):
        comptime for i in range(W):
            a.sums.unsafe_store(j * c.padded + at + i * 16, acc[j * W + i])


def attend[P: Int](a: Asking, c: Cache, first: Int, last: Int):
    """Look at keys [first, last), first a multiple of KEYS, last at most the largest limit."""
    begin[P](a, c.padded)
    var t = first
    while t < last:
        var count = min(KEYS, last - t)
        var tiles = (count + 15) // 16
        score[P](a, c, t, tiles)
        soften[P](a, c.padded, tiles)
        var at = 0
        comptime BEST = 2 if P > 4 else 4
        while at + BEST * 16 <= c.padded:
            gather[P, BEST](a, c, t, count, at)
            at += BEST * 16
        while at < c.padded:
            gather[P, 1](a, c, t, count, at)
            at += 16
        t += KEYS


@always_inline
def store(c: Cache, position: Int, key: Floats, value: Floats):
    """Keep the key and the value of one position."""
    var k = c.keys.unsafe_offset(position // 16 * c.head * 16 + position % 16)
    for i in range(c.head):
        k[unsafe_offset=i * 16] = Float16(key[unsafe_offset=i])
    var v = c.values.unsafe_offset(position * c.padded)
    for i in range(c.head):
        v[unsafe_offset=i] = Float16(value[unsafe_offset=i])
    for i in range(c.head, c.padded):
        v[unsafe_offset=i] = 0
