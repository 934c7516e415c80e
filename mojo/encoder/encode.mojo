"""A BERT-shaped encoder: token ids of several texts to the mean of each text's last states.

Texts lie one behind the other without padding: the matrix products see tokens, only the
attention sees texts. The image of a model holds, each on a cache line: the epsilon of the
norms (a line of its own), the vectors of the positions, the norm after the embedding, and
for each layer the matrix of queries, keys and values, the matrix that joins the heads, a
norm, the two matrices of the feed-forward part, a norm. The table of words is a buffer of
its own, because it may lie in a file as others wrote it.
"""
from std.math import sqrt
from std.memory import bitcast
from attention import attend, attention_floats
from product import CODE_BYTES, PANEL, Linear, code_row, linear_at, linear_bytes, multiply
from registers import Bytes, F, Floats, Ints, LANES, LINE, round_up

comptime BLOCK = 60  # tokens between two passes over a matrix: their states stay in L2
comptime Q4_0 = 0  # words in blocks of 32: a half and 16 bytes, low nibbles first
comptime FLOAT32 = 1
comptime Q4_BYTES = 18
comptime Q4_WEIGHTS = 32


@fieldwise_init
struct Model(TrivialRegisterPassable):
    """Addresses of a model's parts and its shape; checked before it is made."""

    var image: Bytes
    var words: Bytes
    var kind: Int
    var layers: Int
    var width: Int
    var heads: Int
    var feed: Int
    var positions: Int
    var vocabulary: Int


def layer_bytes(width: Int, feed: Int) -> Int:
    """Length of a layer in an image."""
    return (
        linear_bytes(width, 3 * width)
        + linear_bytes(width, width)
        + linear_bytes(width, feed)
        + linear_bytes(feed, width)
        + 4 * width * 4
    )


def image_bytes(m: Model) -> Int:
    """Length of an image."""
    return LINE + (m.positions + 2) * m.width * 4 + m.layers * layer_bytes(m.width, m.feed)


def words_bytes(m: Model) -> Int:
    """Length of the table of words."""
    if m.kind == Q4_0:
        return m.vocabulary * (m.width // Q4_WEIGHTS) * Q4_BYTES
    return m.vocabulary * m.width * 4


def fits(m: Model) -> Bool:
    """Whether the kernels can compute a model of this shape."""
    if m.width < 1 or m.heads < 1 or m.width % PANEL != 0 or m.width % m.heads != 0:
        return False
    var size = m.width // m.heads
    return (
        (size == 32 or size == 64)
        and m.width <= 4096
        and m.feed >= PANEL
        and m.feed <= 16384
        and m.feed % PANEL == 0
        and m.layers >= 1
        and m.layers <= 64
        and m.positions >= 1
        and m.positions <= 8192
        and m.vocabulary >= 1
        and m.vocabulary <= 1 << 24
        and (m.kind == Q4_0 or m.kind == FLOAT32)
    )


def scratch_bytes(m: Model, tokens: Int, longest: Int) -> Int:
    """Working memory of `encode`; the order is that of `encode`."""
    var few = min(tokens, BLOCK)
    return (
        2 * LINE
        + tokens * m.width * 4
        + tokens * 3 * m.width * 4
        + round_up(few * m.feed * CODE_BYTES, LINE)
        + round_up(few * 8, LINE)
        + few * m.feed * 4
        + few * m.width * 4
        + round_up(attention_floats(longest, m.width // m.heads) * 4, LINE)
    )


@always_inline
def add_norm(x: Floats, y: Floats, weight: Floats, bias: Floats, n: Int, epsilon: Float32):
    """Add a row y to x, then layer norm, in place."""
    comptime CHAINS = PANEL // LANES  # sums side by side, for one alone would wait for itself
    var sums = Array[F, CHAINS](fill=F(0))
    for j in range(0, n, PANEL):
        comptime for c in range(CHAINS):
            var i = j + c * LANES
            var v = x.unsafe_load[width=LANES](i) + y.unsafe_load[width=LANES](i)
            x.unsafe_store(i, v)
            sums[c] += v
    var mean = F(((sums[0] + sums[1]) + (sums[2] + sums[3])).reduce_add() / Float32(n))
    var squares = Array[F, CHAINS](fill=F(0))
    for j in range(0, n, PANEL):
        comptime for c in range(CHAINS):
            var d = x.unsafe_load[width=LANES](j + c * LANES) - mean
            squares[c] = d.fma(d, squares[c])
    var square = ((squares[0] + squares[1]) + (squares[2] + squares[3])).reduce_add()
    var inverse = F(1 / sqrt(square / Float32(n) + epsilon))
    for j in range(0, n, LANES):
        var d = (x.unsafe_load[width=LANES](j) - mean) * inverse
        x.unsafe_store(
            j, d.fma(weight.unsafe_load[width=LANES](j), bias.unsafe_load[width=LANES](j))
        )


@always_inline
def word(m: Model, id: Int, x: Floats):
    """The vector of one word."""
    if m.kind == FLOAT32:
        var row = m.words.unsafe_offset(id * m.width * 4).unsafe_bitcast[Float32]()
        for j in range(0, m.width, LANES):
            x.unsafe_store(j, row.unsafe_load[width=LANES](j))
        return
    var blocks = m.width // Q4_WEIGHTS
    var at = m.words.unsafe_offset(id * blocks * Q4_BYTES)
    for b in range(blocks):
        var half = UInt16(at[unsafe_offset=0]) | (UInt16(at[unsafe_offset=1]) << 8)
        var scale = F(bitcast[DType.float16](half).cast[DType.float32]())
        var codes = at.unsafe_load[width=16](2)
        var low = (codes & 15).cast[DType.int32]() - 8
        var high = (codes >> 4).cast[DType.int32]() - 8
        x.unsafe_store(b * 32, low.cast[DType.float32]() * scale)
        x.unsafe_store(b * 32 + 16, high.cast[DType.float32]() * scale)
        at = at.unsafe_offset(Q4_BYTES)


def code_rows[
    BALANCED: Bool
](w: Linear, x: Floats, stride: Int, tokens: Int, codes: Bytes, steps: Floats):
    """Code rows that lie `stride` floats apart, as the matrix wants them."""
    for t in range(tokens):
        code_row[BALANCED](
            x.unsafe_offset(t * stride),
            w.inverse,
            w.inputs,
            codes.unsafe_offset(t * w.inputs * CODE_BYTES),
            steps.unsafe_offset(2 * t),
        )


@always_inline
def observe(x: Floats, tokens: Int, n: Int, tops: Floats):
    """Raise tops to the largest magnitude of each column."""
    for t in range(tokens):
        for j in range(0, n, LANES):
            var v = abs(x.unsafe_load[width=LANES](t * n + j))
            tops.unsafe_store(j, max(v, tops.unsafe_load[width=LANES](j)))


def encode(
    m: Model,
    ids: Ints,
    starts: Ints,
    texts: Int,
    scratch: Bytes,
    means: Floats,
    watch: Bool,
    tops: Floats,
):
    """Write the mean state of each text. Text i has the ids [starts[i], starts[i + 1]).

    Where `watch`, the largest magnitudes of the columns that queries, keys and values are made
    from, and of those that the feed-forward part widens, go into tops: two rows a layer.
    """
    var width = m.width
    var tokens = Int(starts[unsafe_offset=texts])
    var few = min(tokens, BLOCK)
    var at = Bytes(unsafe_from_address=round_up(Int(scratch), LINE))
    var x = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(tokens * width * 4)
    var wide = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(tokens * 3 * width * 4)
    var codes = at
    at = at.unsafe_offset(round_up(few * m.feed * CODE_BYTES, LINE))
    var steps = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(round_up(few * 8, LINE))
    var hidden = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(few * m.feed * 4)
    var more = at.unsafe_bitcast[Float32]()
    at = at.unsafe_offset(few * width * 4)
    var for_attention = at.unsafe_bitcast[Float32]()

    var floats = m.image.unsafe_bitcast[Float32]()
    var epsilon = floats[unsafe_offset=0]
    var places = m.image.unsafe_offset(LINE).unsafe_bitcast[Float32]()
    var first_norm = places.unsafe_offset(m.positions * width)
    for i in range(texts):
        var first = Int(starts[unsafe_offset=i])
        for t in range(first, Int(starts[unsafe_offset=i + 1])):
            var row = x.unsafe_offset(t * width)
            word(m, Int(ids[unsafe_offset=t]), row)
            var place = places.unsafe_offset((t - first) * width)
            add_norm(row, place, first_norm, first_norm.unsafe_offset(width), width, epsilon)

    var layer = first_norm.unsafe_offset(2 * width).unsafe_bitcast[UInt8]()
    for number in range(m.layers):
        var seen = tops.unsafe_offset(2 * number * width)
        var mix = linear_at(layer, width, 3 * width)
        layer = layer.unsafe_offset(linear_bytes(width, 3 * width))
        var join = linear_at(layer, width, width)
        layer = layer.unsafe_offset(linear_bytes(width, width))
        var norm_1 = layer.unsafe_bitcast[Float32]()
        layer = layer.unsafe_offset(2 * width * 4)
        var widen = linear_at(layer, width, m.feed)
        layer = layer.unsafe_offset(linear_bytes(width, m.feed))
        var narrow = linear_at(layer, m.feed, width)
        layer = layer.unsafe_offset(linear_bytes(m.feed, width))
        var norm_2 = layer.unsafe_bitcast[Float32]()
        layer = layer.unsafe_offset(2 * width * 4)

        if watch:
            observe(x, tokens, width, seen)
        var blocks = (tokens + BLOCK - 1) // BLOCK
        var done = 0
        for b in range(blocks):
            var n = (tokens - done + blocks - b - 1) // (blocks - b)
            code_rows[True](mix, x.unsafe_offset(done * width), width, n, codes, steps)
            multiply[False](mix, n, codes, steps, wide.unsafe_offset(done * 3 * width), 3 * width)
            done += n
        for i in range(texts):
            var first = Int(starts[unsafe_offset=i])
            var length = Int(starts[unsafe_offset=i + 1]) - first
            var rows = wide.unsafe_offset(first * 3 * width)
            if width // m.heads == 32:
                attend[32](rows, length, m.heads, for_attention)
            else:
                attend[64](rows, length, m.heads, for_attention)
        done = 0
        for b in range(blocks):
            var n = (tokens - done + blocks - b - 1) // (blocks - b)
            var rows = x.unsafe_offset(done * width)
            code_rows[False](join, wide.unsafe_offset(done * 3 * width), 3 * width, n, codes, steps)
            multiply[False](join, n, codes, steps, more, width)
            for t in range(n):
                var row = rows.unsafe_offset(t * width)
                var change = more.unsafe_offset(t * width)
                add_norm(row, change, norm_1, norm_1.unsafe_offset(width), width, epsilon)
            if watch:
                observe(rows, n, width, seen.unsafe_offset(width))
            code_rows[True](widen, rows, width, n, codes, steps)
            multiply[True](widen, n, codes, steps, hidden, m.feed)
            code_rows[False](narrow, hidden, m.feed, n, codes, steps)
            multiply[False](narrow, n, codes, steps, more, width)
            for t in range(n):
                var row = rows.unsafe_offset(t * width)
                var change = more.unsafe_offset(t * width)
                add_norm(row, change, norm_2, norm_2.unsafe_offset(width), width, epsilon)
            done += n

    for i in range(texts):
        var first = Int(starts[unsafe_offset=i])
        var last = Int(starts[unsafe_offset=i + 1])
        var mean = means.unsafe_offset(i * width)
        for j in range(0, width, LANES):
            var sum = F(0)
            for t in range(first, last):
                sum += x.unsafe_load[width=LANES](t * width + j)
            mean.unsafe_store(j, sum / F(Float32(last - first)))
