"""What happens to activations between the matrices: norms, rotation, 8-bit codes, gates."""
from std.math import exp, sqrt
from registers import BLOCK, F16, Floats, I16, SignedBytes
from tiles import Panel


def normalise(x: Floats, weight: Floats, n: Int, epsilon: Float32, to: Floats):
    """Root-mean-square norm of n values, n a multiple of 32."""
    var squares = F16(0)
    for i in range(n // 16):
        var v = x.unsafe_load[width=16](i * 16)
        squares = v.fma(v, squares)
    var scale = 1.0 / sqrt(squares.reduce_add() / Float32(n) + epsilon)
    for i in range(n // 16):
        to.unsafe_store(
            i * 16, x.unsafe_load[width=16](i * 16) * scale * weight.unsafe_load[width=16](i * 16)
        )


def encode(x: Floats, n: Int, panel: Panel, width: Int, place: Int):
    """Code n activations into place `place` of a panel of `width` tokens: one scale for 32."""
    for b in range(n // BLOCK):
        var low = x.unsafe_load[width=16](b * BLOCK)
        var high = x.unsafe_load[width=16](b * BLOCK + 16)
        var most = max(abs(low), abs(high)).reduce_max()
        var scale = most / 127.0
        var inverse = Float32(0)
        if most > 1e-30:
            inverse = 127.0 / most
        var i0 = round(low * inverse).cast[DType.int32]()
        var i1 = round(high * inverse).cast[DType.int32]()
        var at = b * width + place
        panel.codes.unsafe_store(at * BLOCK, i0.cast[DType.int8]())
        panel.codes.unsafe_store(at * BLOCK + 16, i1.cast[DType.int8]())
        var s0 = Float32(i0.reduce_add()) * scale
        var s1 = Float32(i1.reduce_add()) * scale
        panel.scales[unsafe_offset=at] = scale
        panel.sums[unsafe_offset=at] = s0 + s1
        panel.halves[unsafe_offset=2 * at] = s0
        panel.halves[unsafe_offset=2 * at + 1] = s1


def encode_token(x: Floats, n: Int, panel: Panel, width: Int, place: Int):
    """Code n activations with one scale, as BitNet b1.58 was trained to."""
    var most = F16(1e-5)
    for i in range(n // 16):
        most = max(most, abs(x.unsafe_load[width=16](i * 16)))
    var top = most.reduce_max()
    var inverse = 127.0 / top
    var sum = I16(0)
    for i in range(n // 16):
        var code = (x.unsafe_load[width=16](i * 16) * inverse).__round__().cast[DType.int32]()
        var at = (i // 2 * width + place) * BLOCK + i % 2 * 16
        panel.codes.unsafe_store(at, code.cast[DType.int8]())
        sum += code
    panel.scales[unsafe_offset=place] = top / 127.0
    panel.sums[unsafe_offset=place] = Float32(sum.reduce_add()) * (top / 127.0)


comptime FINE = 8  # one block in so many is coded twice, of most tokens of a long prompt
comptime SHORT = 96  # with so few tokens all blocks of all of them are
comptime LATE = 12  # and those of a panel that begins so near to the end


def fine_bar(energies: Floats, blocks: Int, keep: Int) -> Float32:
    """A bar that at most `keep` energies reach; padded with zeros to whole registers."""
    var top = Float32(0)
    var padded = (blocks + 15) // 16 * 16
    for i in range(padded // 16):
        top = max(top, energies.unsafe_load[width=16](i * 16).reduce_max())
    var low = top * 1e-8
    var high = top
    for _ in range(16):
        var middle = sqrt(low * high)
        var count = I16(0)
        for i in range(padded // 16):
            count += energies.unsafe_load[width=16](i * 16).ge(F16(middle)).select(I16(1), I16(0))
        if Int(count.reduce_add()) > keep:
            low = middle
        else:
            high = middle
    return max(high, 1e-30)


def refine(
    x: Floats,
    stride: Int,
    count: Int,
    n: Int,
    panel: Panel,
    width: Int,
    energies: Floats,
    share: Int,
):
    """Code once more what rounding left over in the blocks that carry most of the error.

    `x` holds `count` rows of n activations that the panel has coded; `energies` is room. One block
    in `share` is coded twice. For single tokens all are: that costs them little, since reading
    the weights takes the time, and the errors of one are seen in every score. Half of the blocks
    were slower than all, since no branch predictor guesses which.
    """
    var blocks = n // BLOCK
    var bar = Float32(-1)
    if share > 1:
        for b in range((blocks + 15) // 16 * 16):
            var energy = Float32(0)
            if b < blocks:
                for j in range(count):
                    var s = panel.scales[unsafe_offset=b * width + j]
                    energy += s * s
            energies[unsafe_offset=b] = energy
        bar = fine_bar(energies, blocks, (blocks + share - 1) // share)
    for b in range(blocks):
        var fine = share == 1 or energies[unsafe_offset=b] >= bar
        panel.fine[unsafe_offset=b] = Int32(1) if fine else Int32(0)
        if not fine:
            continue
        for j in range(count):
            var at = b * width + j
            var scale = F16(panel.scales[unsafe_offset=at])
            var c = panel.codes.unsafe_offset(at * BLOCK)
            var v = x.unsafe_offset(j * stride + b * BLOCK)
            var low = v.unsafe_load[width=16](0)
            var high = v.unsafe_load[width=16](16)
            low -= c.unsafe_load[width=16](0).cast[DType.float32]() * scale
            high -= c.unsafe_load[width=16](16).cast[DType.float32]() * scale
            var most = max(abs(low), abs(high)).reduce_max()
            var inverse = Float32(0)
            if most > 1e-30:
                inverse = 127.0 / most
            var i0 = round(low * inverse).cast[DType.int32]()
            var i1 = round(high * inverse).cast[DType.int32]()
            panel.rest.unsafe_store(at * BLOCK, i0.cast[DType.int8]())
            panel.rest.unsafe_store(at * BLOCK + 16, i1.cast[DType.int8]())
            panel.rest_scales[unsafe_offset=at] = most / 127.0
            var s0 = Float32(i0.reduce_add()) * (most / 127.0)
            var s1 = Float32(i1.reduce_add()) * (most / 127.0)
            panel.sums[unsafe_offset=at] += s0 + s1
            panel.halves[unsafe_offset=2 * at] += s0
            panel.halves[unsafe_offset=2 * at + 1] += s1


def spread(x: Floats, n: Int, panel: Panel, width: Int, place: Int):
    """Copy n activations into a panel of floats."""
    for k in range(n):
        panel.floats[unsafe_offset=k * width + place] = x[unsafe_offset=k]


def rotate(x: Floats, half: Int, cosine: Floats, sine: Floats):
    """Turn the pairs (i, i + half) of one head by the angles of its position."""
    var i = 0
    while i + 16 <= half:
        var a = x.unsafe_load[width=16](i)
        var b = x.unsafe_load[width=16](i + half)
        var c = cosine.unsafe_load[width=16](i)
        var s = sine.unsafe_load[width=16](i)
        x.unsafe_store(i, a * c - b * s)
        x.unsafe_store(i + half, a * s + b * c)
        i += 16
    while i < half:
        var a = x[unsafe_offset=i]
        var b = x[unsafe_offset=i + half]
        var c = cosine[unsafe_offset=i]
        var s = sine[unsafe_offset=i]
        x[unsafe_offset=i] = a * c - b * s
        x[unsafe_offset=i + half] = a * s + b * c
        i += 1


@always_inline
def gate(g: F16, u: F16) -> F16:
    """The gated unit silu(g) * u."""
    return g / (1.0 + exp(-g)) * u


@always_inline
def squared_gate(g: F16, u: F16) -> F16:
    """The gated unit relu(g)^2 * u."""
    var r = max(g, F16(0))
    return r * r * u
