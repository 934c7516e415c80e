"""Matrix products of 8-bit codes: unsigned activations of some tokens, signed weights.

A row of activations x becomes codes u = round(x / step) + zero, with the row's own step and
zero, after a division of every column by a fixed number that the weights are multiplied by
(columns with large values would otherwise leave few codes for the others). Then

    sum_k w[n, k] x[k] = step * scale[n] * (sum_k c[n, k] u[k] - zero * sum_k c[n, k])

Weights lie in panels of 64 outputs; a panel holds, for every four inputs, 64 times four
neighbouring codes, which is what one VNNI instruction multiplies. Sums of integers do not
depend on their order, so every variant computes the same.
"""
from std.math import ceil
from std.memory import bitcast
from std.sys import llvm_intrinsic
from curves import gelu
from registers import Bytes, F, Floats, HAS_VNNI, I, LANES, SignedBytes

comptime PANEL = 64  # outputs that lie together
comptime GROUPS = PANEL // LANES
comptime CODE_BYTES = 1 if HAS_VNNI else 2  # AVX2 multiplies pairs of 16-bit numbers
comptime MOST = 6 if HAS_VNNI else 2  # tokens whose sums fit into the registers
comptime MAGIC = Float32(8388608)  # 2^23: a float this large has no binary places


@fieldwise_init
struct Linear(TrivialRegisterPassable):
    """A layer's matrix in an image: inputs, outputs, and where its parts lie."""

    var inputs: Int
    var outputs: Int
    var inverse: Floats  # (inputs,) what columns of activations are multiplied by
    var bias: Floats  # (outputs,)
    var scale: Floats  # (outputs,)
    var shift: Floats  # (outputs,) scale times the sum of the output's codes
    var panels: SignedBytes


def linear_bytes(inputs: Int, outputs: Int) -> Int:
    """Length of a matrix in an image."""
    return inputs * 4 + outputs * 12 + inputs * outputs


@always_inline
def linear_at(image: Bytes, inputs: Int, outputs: Int) -> Linear:
    """The matrix that begins here."""
    var floats = image.unsafe_bitcast[Float32]()
    return Linear(
        inputs,
        outputs,
        floats,
        floats.unsafe_offset(inputs),
        floats.unsafe_offset(inputs + outputs),
        floats.unsafe_offset(inputs + 2 * outputs),
        image.unsafe_offset(inputs * 4 + outputs * 12).unsafe_bitcast[Int8](),
    )


@always_inline
def code_row[BALANCED: Bool](x: Floats, inverse: Floats, n: Int, codes: Bytes, step: Floats):
    """Code one row of n floats; step gets the step and minus the step times the zero. Where not
    BALANCED, the columns are not multiplied by their inverses, for those are ones.

    254 steps and a zero that is rounded up leave no number outside of 0 to 255.
    """
    var low = F(0)
    var high = F(0)
    var low_2 = F(0)
    var high_2 = F(0)
    for j in range(0, n, 2 * LANES):
        var v = x.unsafe_load[width=LANES](j)
        var w = x.unsafe_load[width=LANES](j + LANES)
        comptime if BALANCED:
            v *= inverse.unsafe_load[width=LANES](j)
            w *= inverse.unsafe_load[width=LANES](j + LANES)
        low = min(low, v)
        high = max(high, v)
        low_2 = min(low_2, w)
        high_2 = max(high_2, w)
    var least = min(low, low_2).reduce_min()
    var width = max(max(high, high_2).reduce_max() - least, Float32(1e-12))
    var per = 254 / width
    var zero = ceil(-least * per)
    step[unsafe_offset=0] = width / 254
    step[unsafe_offset=1] = -zero * (width / 254)
    var base = F(MAGIC + zero)
    for j in range(0, n, LANES):
        var v = x.unsafe_load[width=LANES](j)
        comptime if BALANCED:
            v *= inverse.unsafe_load[width=LANES](j)
        # the addition rounds to the nearest integer and leaves it in the lowest bits
        var bits = bitcast[DType.int32, LANES](v.fma(F(per), base))
        comptime if HAS_VNNI:
            codes.unsafe_store(j, bits.cast[DType.uint8]())
        else:
            codes.unsafe_bitcast[UInt16]().unsafe_store(j, (bits & I(255)).cast[DType.uint16]())


@always_inline
def finish[
    M: Int, ACTIVATE: Bool
](sums: Array[I, M], w: Linear, n: Int, steps: Floats, y: Floats, stride: Int):
    """Sixteen integer sums of each of M tokens become floats, from output n on."""
    var scale = w.scale.unsafe_load[width=LANES](n)
    var shift = w.shift.unsafe_load[width=LANES](n)
    var bias = w.bias.unsafe_load[width=LANES](n)
    comptime for r in range(M):
        var offset = shift.fma(F(steps[unsafe_offset=2 * r + 1]), bias)
        var v = sums[r].cast[DType.float32]().fma(scale * F(steps[unsafe_offset=2 * r]), offset)
        comptime if ACTIVATE:
            v = gelu(v)
        y.unsafe_store(r * stride + n, v)


@always_inline
def block_vnni[
    M: Int, ACTIVATE: Bool
](w: Linear, p: Int, codes: Bytes, steps: Floats, y: Floats, stride: Int):
    """M tokens against panel p."""
    var panel = w.panels.unsafe_offset(p * PANEL * w.inputs)
    var acc = Array[I, M * GROUPS](fill=I(0))
    var quads = w.inputs // 4
    var u = codes.unsafe_bitcast[Int32]()
    for k in range(quads):
        var at = panel.unsafe_offset(k * 4 * PANEL)
        var c = Array[SIMD[DType.int8, 64], GROUPS](fill=SIMD[DType.int8, 64](0))
        comptime for g in range(GROUPS):
            c[g] = at.unsafe_load[width=64](g * 64)
        comptime for r in range(M):
            var x = bitcast[DType.uint8, 64](I(u[unsafe_offset=r * quads + k]))
            comptime for g in range(GROUPS):
                acc[r * GROUPS + g] = llvm_intrinsic[
                    "llvm.x86.avx512.vpdpbusd.512", I, has_side_effect=False
                ](acc[r * GROUPS + g], x, c[g])
    comptime for g in range(GROUPS):
        var sums = Array[I, M](fill=I(0))
        comptime for r in range(M):
            sums[r] = acc[r * GROUPS + g]
        finish[M, ACTIVATE](sums, w, p * PANEL + g * LANES, steps, y, stride)


comptime Pairs = SIMD[DType.int32, 8]
comptime Shorts = SIMD[DType.int16, 16]


@always_inline
def block_avx2[
    M: Int, ACTIVATE: Bool
](w: Linear, p: Int, codes: Bytes, steps: Floats, y: Floats, stride: Int):
    """M tokens against panel p: four outputs a register, two partial sums each."""
    comptime CHUNKS = LANES // 4
    var quads = w.inputs // 4
    var u = codes.unsafe_bitcast[Int64]()
    for g in range(GROUPS):
        var panel = w.panels.unsafe_offset(p * PANEL * w.inputs + g * 64)
        var acc = Array[Pairs, M * CHUNKS](fill=Pairs(0))
        for k in range(quads):
            comptime for q in range(CHUNKS):
                var c = panel.unsafe_load[width=16](k * 4 * PANEL + q * 16).cast[DType.int16]()
                comptime for r in range(M):
                    var x = bitcast[DType.int16, 16](
                        SIMD[DType.int64, 4](u[unsafe_offset=r * quads + k])
                    )
                    acc[r * CHUNKS + q] += llvm_intrinsic[
                        "llvm.x86.avx2.pmadd.wd", Pairs, has_side_effect=False
                    ](c, x)
        var sums = Array[I, M](fill=I(0))
        comptime for r in range(M):
            var low = acc[r * CHUNKS].join(acc[r * CHUNKS + 1]).deinterleave()
            var high = acc[r * CHUNKS + 2].join(acc[r * CHUNKS + 3]).deinterleave()
            sums[r] = (low[0] + low[1]).join(high[0] + high[1])
        finish[M, ACTIVATE](sums, w, p * PANEL + g * LANES, steps, y, stride)


@always_inline
def block[
    M: Int, ACTIVATE: Bool
](w: Linear, p: Int, codes: Bytes, steps: Floats, y: Floats, stride: Int):
    """M tokens against panel p, by whatever this CPU multiplies best."""
    comptime if HAS_VNNI:
        block_vnni[M, ACTIVATE](w, p, codes, steps, y, stride)
    else:
        block_avx2[M, ACTIVATE](w, p, codes, steps, y, stride)


@no_inline
def some[
    ACTIVATE: Bool
](m: Int, w: Linear, p: Int, codes: Bytes, steps: Floats, y: Floats, stride: Int):
    """As many as m tokens, at most MOST, against panel p."""
    comptime for fixed in range(1, MOST + 1):
        if m == fixed:
            block[fixed, ACTIVATE](w, p, codes, steps, y, stride)
            return


def multiply[
    ACTIVATE: Bool
](w: Linear, tokens: Int, codes: Bytes, steps: Floats, y: Floats, stride: Int):
    """The matrix times every token's codes, plus the bias, into rows of y that lie `stride`
    floats apart; through GELU where ACTIVATE.
    """
    var blocks = (tokens + MOST - 1) // MOST
    var panels = w.outputs // PANEL
    for p in range(panels):
        var done = 0
        for b in range(blocks):
            var m = (tokens - done + blocks - b - 1) // (blocks - b)
            var from_codes = codes.unsafe_offset(done * w.inputs * CODE_BYTES)
            var from_steps = steps.unsafe_offset(2 * done)
            var to = y.unsafe_offset(done * stride)
            some[ACTIVATE](m, w, p, from_codes, from_steps, to, stride)
            done += m
