"""Products of a 16-row tile of weights with one or several tokens.

Quantised weights meet activations that are 8-bit integers with one scale for 32 of them; a
block's integer sum is exact, and is scaled once. A block is stored as its scales, then its
codes, 64 bytes for four columns of 16 rows (eight with 4-bit codes: the even four in the low
halves). Weights in floating point meet floating-point activations.

Activations of T tokens lie together: `codes` (blocks, T, 32), `scales` and `sums` (blocks, T),
`halves` (blocks, T, 2), where sums are scale times the sum of the codes; `floats` (columns, T).
Blocks with large activations carry most of the rounding error. They are `fine`: what rounding left
over is coded once more, in `rest`, and sums count both.
"""
from std.memory import bitcast
from registers import (
    BLOCK,
    Bytes,
    F16,
    Floats,
    Halves,
    HAS_AVX512,
    HAS_VNNI,
    I16,
    Ints,
    MIDDLE,
    NARROW,
    SignedBytes,
    TILE,
    U64,
    WIDE,
    carries_offset,
    dot4,
)

comptime Q8 = 0  # 8-bit signed, half scale
comptime Q4M = 1  # 4-bit, half scale and minimum
comptime Q4 = 2  # 4-bit minus 8, half scale
comptime Q8M = 3  # 8-bit unsigned, half scale and minimum
comptime W4M = 4  # 4-bit, float scale and minimum
comptime W8M = 5  # 8-bit unsigned, float scale and minimum
comptime W6 = 6  # 6-bit minus 32, a float scale for 16
comptime HALF = 7
comptime BRAIN = 8
comptime FULL = 9
comptime TERNARY = 10  # 2-bit codes of -1, 0, 1; one scale a matrix, activations one a token
comptime FORMATS = 11

comptime BLOCKWISE = 1  # what a format needs of activations: codes with a scale for 32
comptime FLOATING = 2  # floats
comptime TOKENWISE = 4  # codes with a scale a token


def block_bytes(format: Int) -> Int:
    """Bytes that 32 columns of a tile take."""
    if format == Q8:
        return 544
    elif format == Q4M:
        return 320
    elif format == Q4:
        return 288
    elif format == Q8M:
        return 576
    elif format == W4M:
        return 384
    elif format == W8M or format == W6:
        return 640
    elif format == FULL:
        return 2048
    elif format == TERNARY:
        return 128
    return 1024


@always_inline
def needs(format: Int) -> Int:
    """What a format needs of activations."""
    if format == TERNARY:
        return TOKENWISE
    return FLOATING if format >= HALF else BLOCKWISE


@fieldwise_init
struct Panel(TrivialRegisterPassable):
    """Activations of the tokens of one kernel call."""

    var codes: SignedBytes
    var scales: Floats
    var sums: Floats
    var halves: Floats
    var floats: Floats
    var rest: SignedBytes  # codes of what rounding left over, in blocks that are `fine`
    var rest_scales: Floats
    var fine: Ints


@always_inline
def wide_scales[full: Bool](p: Bytes, at: Int) -> F16:
    """Sixteen scales, stored as floats or as halves; `at` counts vectors."""
    comptime if full:
        return p.unsafe_bitcast[Float32]().unsafe_load[width=16](at * 16)
    else:
        return p.unsafe_bitcast[Float16]().unsafe_load[width=16](at * 16).cast[DType.float32]()


@always_inline
def plane[
    bits: Int, span: Int, signed: Bool, room: Int, T: Int
](p: Bytes, part: Int, codes: SignedBytes, scales: Floats, d: F16, mut acc: Array[F16, T],):
    """Add `span` columns of a block, from column `part * span` on, for one plane of codes."""
    comptime VECTORS = span // 4 * bits // 8
    comptime CHAINS = 2 if T == 1 else 1
    var four = codes.unsafe_offset(part * span).unsafe_bitcast[Int32]()
    var ia = Array[I16, T * CHAINS](fill=I16(0))
    comptime for v in range(VECTORS):
        var u = p.unsafe_load[width=64](room + v * 64)
        comptime if bits == 4:
            var low = u & 15
            var high = u >> 4
            comptime for j in range(T):
                ia[j] = dot4[False](ia[j], low, four[unsafe_offset=j * 8 + 2 * v])
            comptime for j in range(T):
                comptime k = j + T * (CHAINS - 1)
                ia[k] = dot4[False](ia[k], high, four[unsafe_offset=j * 8 + 2 * v + 1])
        else:
            comptime for j in range(T):
                comptime k = j + T * (v % CHAINS)
                ia[k] = dot4[signed](ia[k], u, four[unsafe_offset=j * 8 + v])
    comptime for j in range(T):
        var total = ia[j]
        comptime if CHAINS == 2:
            total += ia[j + T]
        acc[j] = total.cast[DType.float32]().fma(d * scales[unsafe_offset=j], acc[j])


@always_inline
def integer_tile[
    bits: Int, span: Int, minimum: Bool, full: Bool, offset: Int, T: Int
](w: Bytes, blocks: Int, x: Panel, to: Floats, stride: Int):
    """One tile of integer codes; `span` columns share a scale."""
    comptime signed = offset == 128
    comptime ROOM = (64 if full else 32) * (2 if minimum else 1)
    var acc = Array[F16, T](fill=F16(0))
    var p = w
    for b in range(blocks):
        comptime for part in range(BLOCK // span):
            var d = wide_scales[full](p, 0)
            var at = b * T
            var codes = x.codes.unsafe_offset(at * BLOCK)
            plane[bits, span, signed, ROOM, T](p, part, codes, x.scales.unsafe_offset(at), d, acc)
            if x.fine[unsafe_offset=b] != 0:
                var rest = x.rest.unsafe_offset(at * BLOCK)
                plane[bits, span, signed, ROOM, T](
                    p, part, rest, x.rest_scales.unsafe_offset(at), d, acc
                )
            comptime if minimum or carries_offset[signed]():
                var m = wide_scales[full](p, 1) if minimum else d * Float32(-offset)
                comptime for j in range(T):
                    comptime if span == BLOCK:
                        acc[j] = m.fma(F16(x.sums[unsafe_offset=at + j]), acc[j])
                    else:
                        acc[j] = m.fma(F16(x.halves[unsafe_offset=(at + j) * 2 + part]), acc[j])
            p = p.unsafe_offset(ROOM + span // 4 * bits // 8 * 64)
    comptime for j in range(T):
        to.unsafe_store(j * stride, acc[j])


@always_inline
def widen[format: Int](w: Bytes, k: Int) -> F16:
    """Column k of a tile in floating point."""
    comptime if format == HALF:
        return w.unsafe_bitcast[Float16]().unsafe_load[width=16](k * TILE).cast[DType.float32]()
    elif format == BRAIN:
        var bits = w.unsafe_bitcast[UInt16]().unsafe_load[width=16](k * TILE)
        return bitcast[DType.float32, 16](bits.cast[DType.uint32]() << 16)
    else:
        return w.unsafe_bitcast[Float32]().unsafe_load[width=16](k * TILE)


@always_inline
def float_tile[format: Int, T: Int](w: Bytes, blocks: Int, x: Panel, to: Floats, stride: Int):
    """One tile of floating-point weights."""
    comptime CHAINS = 4 if T == 1 else 1
    var acc = Array[F16, T * CHAINS](fill=F16(0))
    for q in range(blocks * (BLOCK // 4)):
        comptime for i in range(4):
            var k = q * 4 + i
            var column = widen[format](w, k)
            comptime for j in range(T):
                comptime c = j + T * (i % CHAINS)
                acc[c] = column.fma(F16(x.floats[unsafe_offset=k * T + j]), acc[c])
    comptime for j in range(T):
        var total = acc[j]
        comptime for c in range(1, CHAINS):
            total += acc[j + T * c]
        to.unsafe_store(j * stride, total)


@always_inline
def ternary_tile[T: Int](w: Bytes, scale: Float32, blocks: Int, x: Panel, to: Floats, stride: Int):
    """One tile of codes from 0 to 2; 64 bytes are 16 columns of 16 rows.

    A single token waits for memory and for the two units that multiply, so its codes stay where
    they are in the byte: they are masked, not shifted, and each place has a sum of its own.
    """
    comptime STAY = T == 1 and HAS_VNNI  # the sums of pairs on AVX2 would run over
    comptime PLACES = 4 if STAY else 1
    var acc = Array[I16, T * PLACES](fill=I16(0))
    for b in range(blocks):
        var four = x.codes.unsafe_offset(b * T * BLOCK).unsafe_bitcast[Int32]()
        comptime for v in range(2):
            var u = w.unsafe_load[width=64](b * 128 + v * 64)
            comptime for s in range(4):
                comptime if STAY:
                    var c = u & UInt8(3 << (2 * s))
                    acc[s] = dot4[False](acc[s], c, four[unsafe_offset=v * 4 + s])
                else:
                    # Bytes have no shift of their own; pairs of them have, and the mask suits both.
                    var pairs = bitcast[DType.uint16, 32](u) >> UInt16(2 * s)
                    var c = bitcast[DType.uint8, 64](pairs) & 3
                    comptime for j in range(T):
                        acc[j] = dot4[False](acc[j], c, four[unsafe_offset=j * 8 + v * 4 + s])
    comptime for j in range(T):
        var total = acc[j]
        comptime for s in range(1, PLACES):
            total += acc[s] >> Int32(2 * s)
        var product = total.cast[DType.float32]() * x.scales[unsafe_offset=j]
        to.unsafe_store(j * stride, (product - x.sums[unsafe_offset=j]) * scale)


def tile[
    T: Int
](format: Int, w: Bytes, scale: Float32, blocks: Int, x: Panel, to: Floats, stride: Int):
    """16 rows of a matrix times T tokens: `to[token * stride + row]`."""
    if format == TERNARY:
        ternary_tile[T](w, scale, blocks, x, to, stride)
    elif format == Q8:
        integer_tile[8, 32, False, False, 128, T](w, blocks, x, to, stride)
    elif format == Q4M:
        integer_tile[4, 32, True, False, 0, T](w, blocks, x, to, stride)
    elif format == Q4:
        integer_tile[4, 32, False, False, 8, T](w, blocks, x, to, stride)
    elif format == Q8M:
        integer_tile[8, 32, True, False, 0, T](w, blocks, x, to, stride)
    elif format == W4M:
        integer_tile[4, 32, True, True, 0, T](w, blocks, x, to, stride)
    elif format == W8M:
        integer_tile[8, 32, True, True, 0, T](w, blocks, x, to, stride)
    elif format == W6:
        integer_tile[8, 16, False, True, 32, T](w, blocks, x, to, stride)
    elif format == HALF:
        float_tile[HALF, T](w, blocks, x, to, stride)
    elif format == BRAIN:
        float_tile[BRAIN, T](w, blocks, x, to, stride)
    else:
        float_tile[FULL, T](w, blocks, x, to, stride)


def tile_for(
    width: Int,
    format: Int,
    w: Bytes,
    scale: Float32,
    blocks: Int,
    x: Panel,
    to: Floats,
    stride: Int,
):
    """The same for a panel of some width."""
    if width == 1:
        tile[1](format, w, scale, blocks, x, to, stride)
    elif width == 2:
        tile[2](format, w, scale, blocks, x, to, stride)
    elif width == NARROW:
        tile[NARROW](format, w, scale, blocks, x, to, stride)
    elif width == MIDDLE:
        tile[MIDDLE](format, w, scale, blocks, x, to, stride)
    else:
        tile[WIDE](format, w, scale, blocks, x, to, stride)


@always_inline
def code_of(p: Bytes, room: Int, four: Bool, row: Int, k: Int) -> Int:
    """The code of column k of a block for one row."""
    if four:
        var byte = p[unsafe_offset=room + k // 8 * 64 + row * 4 + k % 4]
        return Int(byte >> 4) if k % 8 >= 4 else Int(byte & 15)
    return Int(p[unsafe_offset=room + k // 4 * 64 + row * 4 + k % 4])


def write_row(format: Int, w: Bytes, scale: Float32, blocks: Int, row: Int, to: Floats):
    """One row of a tile as floats: the embedding of a token."""
    for b in range(blocks):
        var p = w.unsafe_offset(b * block_bytes(format))
        var f = p.unsafe_bitcast[Float32]()
        var h = p.unsafe_bitcast[Float16]()
        for k in range(BLOCK):
            var value: Float32
            if format == TERNARY:
                var byte = p[unsafe_offset=k // 16 * 64 + row * 4 + k % 4]
                value = Float32(Int((byte >> UInt8(k % 16 // 4 * 2)) & 3) - 1) * scale
            elif format == FULL:
                value = f[unsafe_offset=k * TILE + row]
            elif format == HALF:
                value = Float32(h[unsafe_offset=k * TILE + row])
            elif format == BRAIN:
                var bits = UInt32(p.unsafe_bitcast[UInt16]()[unsafe_offset=k * TILE + row]) << 16
                value = bitcast[DType.float32, 1](SIMD[DType.uint32, 1](bits))[0]
            elif format == Q8:
                var c = code_of(p, 32, False, row, k) - 128
                value = Float32(c) * Float32(h[unsafe_offset=row])
            elif format == Q4:
                var c = code_of(p, 32, True, row, k) - 8
                value = Float32(c) * Float32(h[unsafe_offset=row])
            elif format == Q4M or format == Q8M:
                var c = code_of(p, 64, format == Q4M, row, k)
                value = Float32(c) * Float32(h[unsafe_offset=row]) + Float32(
                    h[unsafe_offset=16 + row]
                )
            elif format == W6:
                var q = p.unsafe_offset(k // 16 * 320)
                var c = code_of(q, 64, False, row, k % 16) - 32
                value = Float32(c) * q.unsafe_bitcast[Float32]()[unsafe_offset=row]
            else:
                var c = code_of(p, 128, format == W4M, row, k)
                value = Float32(c) * f[unsafe_offset=row] + f[unsafe_offset=16 + row]
            to[unsafe_offset=b * BLOCK + k] = value
