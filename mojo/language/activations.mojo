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
