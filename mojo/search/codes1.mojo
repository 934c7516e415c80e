"""1-bit codes: the sign of every component, scanned with tables in registers.

The scan estimates a row's score as the sum of +q or -q over its signs. The query is turned
into tables: for every group of neighbouring signs the sum for each of their patterns,
scaled to 0..31 so that eight looked-up bytes add up without overflow. One shuffle
instruction then scores one group of 32 or 64 rows. (The idea is the fast scan of product
quantisation, André, Kermarrec and Le Scouarnec, VLDB 2015.)

Codes lie in blocks of 64 rows: byte g of all 64 rows, then byte g + 1, and so on. Byte g of
a row holds the signs of components 8g to 8g + 7, lowest bit first. Bytes come in threes, so
that a CPU with VBMI can read them as four 6-bit patterns: the low six bits of each byte,
and the three pairs of top bits together.
"""
from std.memory import bitcast, pack_bits
from std.bit import count_trailing_zeros
from std.sys import llvm_intrinsic
from lanes import (
    BLOCK_ROWS,
    BYTE_LANES,
    Bytes,
    Floats,
    HAS_AVX512,
    HAS_VBMI,
    LONG_LANES,
    SHORT_LANES,
    Shorts,
    round_up,
)

comptime TOP = Float32(31)
comptime Lanes = SIMD[DType.uint8, BYTE_LANES]
comptime Wide = SIMD[DType.uint16, SHORT_LANES]
comptime TABLES = 4 if HAS_VBMI else 6  # tables for one triple of bytes


@always_inline
def sign_bytes(dim: Int) -> Int:
    """Code bytes of one row: one a group of eight components, in threes."""
    return round_up((dim + 7) // 8, 3)


@always_inline
def table_bytes(dim: Int) -> Int:
    """Bytes that the tables of a query take."""
    return sign_bytes(dim) // 3 * TABLES * BYTE_LANES


def encode1(rows: Floats, first: Int, last: Int, dim: Int, codes: Bytes):
    """Code rows [first, last); other rows of their blocks stay as they are."""
    var groups = sign_bytes(dim)
    for i in range(first, last):
        var p = rows.unsafe_offset(i * dim)
        var c = codes.unsafe_offset(i // BLOCK_ROWS * groups * BLOCK_ROWS + i % BLOCK_ROWS)
        var g = 0
        while g * 8 + 8 <= dim:
            var v = p.unsafe_load[width=8](g * 8).gt(SIMD[DType.float32, 8](0))
            c[unsafe_offset=g * BLOCK_ROWS] = UInt8(pack_bits(v))
            g += 1
        while g < groups:
            var bits = UInt8(0)
            for t in range(8):
                if g * 8 + t < dim and p[unsafe_offset=g * 8 + t] > 0:
                    bits |= UInt8(1) << UInt8(t)
            c[unsafe_offset=g * BLOCK_ROWS] = bits
            g += 1


@always_inline
def pattern_bit[bit: Int]() -> SIMD[DType.float32, 16]:
    """For each of 16 patterns, whether a bit is set, as 0 or 1."""
    var v = SIMD[DType.float32, 16](0)
    comptime for i in range(16):
        comptime if (i >> bit) & 1 == 1:
            v[i] = 1
    return v


@always_inline
def fill_table(q: SIMD[DType.float32, 8], table: Bytes):
    """All sums of the (already scaled) components in q[0:4], and of q[4], q[5] with VBMI."""
    var low = min(q, SIMD[DType.float32, 8](0))
    comptime if HAS_VBMI:
        var base = low[0] + low[1] + low[2] + low[3] + low[4] + low[5]
        var v = pattern_bit[0]() * q[0] + pattern_bit[1]() * q[1]
        v += pattern_bit[2]() * q[2] + pattern_bit[3]() * q[3] + (Float32(0.5) - base)
        comptime for high in range(4):
            var w = v
            comptime if high & 1 == 1:
                w += q[4]
            comptime if high & 2 == 2:
                w += q[5]
            table.unsafe_store(high * 16, w.cast[DType.int32]().cast[DType.uint8]())
    else:
        var base = low[0] + low[1] + low[2] + low[3]
        var v = pattern_bit[0]() * q[0] + pattern_bit[1]() * q[1]
        v += pattern_bit[2]() * q[2] + pattern_bit[3]() * q[3] + (Float32(0.5) - base)
        var t = v.cast[DType.int32]().cast[DType.uint8]()
        comptime for copy in range(BYTE_LANES // 16):
            table.unsafe_store(copy * 16, t)


comptime Six = SIMD[DType.float32, 8]


@always_inline
def tables_of_triple(q: Floats, scale: Float32, tables: Bytes):
    """The tables for 24 components."""
    var a = q.unsafe_load[width=8](0) * scale
    var b = q.unsafe_load[width=8](8) * scale
    var c = q.unsafe_load[width=8](16) * scale
    comptime if HAS_VBMI:
        fill_table(a, tables)
        fill_table(b, tables.unsafe_offset(BYTE_LANES))
        fill_table(c, tables.unsafe_offset(2 * BYTE_LANES))
        var tops = Six(a[6], a[7], b[6], b[7], c[6], c[7], 0, 0)
        fill_table(tops, tables.unsafe_offset(3 * BYTE_LANES))
    else:
        fill_table(a, tables)
        fill_table(a.rotate_left[4](), tables.unsafe_offset(BYTE_LANES))
        fill_table(b, tables.unsafe_offset(2 * BYTE_LANES))
        fill_table(b.rotate_left[4](), tables.unsafe_offset(3 * BYTE_LANES))
        fill_table(c, tables.unsafe_offset(4 * BYTE_LANES))
        fill_table(c.rotate_left[4](), tables.unsafe_offset(5 * BYTE_LANES))


@always_inline
def widest_group(q: Floats, triples: Int) -> Float32:
    """The largest sum of magnitudes that one table has to hold."""
    var widest = SIMD[DType.float32, 4](1e-30)
    for t in range(triples):
        var a = abs(q.unsafe_load[width=8](t * 24))
        var b = abs(q.unsafe_load[width=8](t * 24 + 8))
        var c = abs(q.unsafe_load[width=8](t * 24 + 16))
        comptime if HAS_VBMI:
            var s = SIMD[DType.float32, 4](
                a.slice[4]().reduce_add() + a[4] + a[5],
                b.slice[4]().reduce_add() + b[4] + b[5],
                c.slice[4]().reduce_add() + c[4] + c[5],
                a[6] + a[7] + b[6] + b[7] + c[6] + c[7],
            )
            widest = max(widest, s)
        else:
            widest = max(
                widest,
                SIMD[DType.float32, 4](
                    a.slice[4]().reduce_add(),
                    a.slice[4, offset=4]().reduce_add(),
                    b.slice[4]().reduce_add(),
                    b.slice[4, offset=4]().reduce_add(),
                ),
            )
            widest = max(
                widest,
                SIMD[DType.float32, 4](
                    c.slice[4]().reduce_add(), c.slice[4, offset=4]().reduce_add(), 0, 0
                ),
            )
    return widest.reduce_max()


@always_inline
def build_tables(q: Floats, dim: Int, tables: Bytes):
    """The tables of a query; `q` is padded with zeros to whole triples."""
    var triples = sign_bytes(dim) // 3
    var scale = (TOP - Float32(0.01)) / widest_group(q, triples)
    for t in range(triples):
        tables_of_triple(
            q.unsafe_offset(t * 24), scale, tables.unsafe_offset(t * TABLES * BYTE_LANES)
        )


@always_inline
def look_up(table: Lanes, index: Lanes) -> Lanes:
    """One table entry a lane. Only bits that the table needs may be set in an index, except
    that VBMI ignores the upper two.
    """
    comptime if HAS_VBMI:
        return llvm_intrinsic["llvm.x86.avx512.permvar.qi.512", Lanes, has_side_effect=False](
            table, index
        )
    elif HAS_AVX512:
        return llvm_intrinsic["llvm.x86.avx512.pshuf.b.512", Lanes, has_side_effect=False](
            table, index
        )
    else:
        return llvm_intrinsic["llvm.x86.avx2.pshuf.b", Lanes, has_side_effect=False](table, index)


@always_inline
def shifted_right[bits: Int](v: Lanes) -> Lanes:
    """Shift as 16-bit lanes; bits come in from the neighbouring byte."""
    return bitcast[DType.uint8, BYTE_LANES](bitcast[DType.uint16, SHORT_LANES](v) >> UInt16(bits))


@always_inline
def shifted_left[bits: Int](v: Lanes) -> Lanes:
    """Shift as 16-bit lanes; bits come in from the neighbouring byte."""
    return bitcast[DType.uint8, BYTE_LANES](bitcast[DType.uint16, SHORT_LANES](v) << UInt16(bits))


@always_inline
def top_bits[place: Int](v: Lanes) -> Lanes:
    """The two top bits of every byte, moved to bits `place` and `place + 1`, the others clear. A
    product of bit matrices does it off the units that shift and look up, which are busy.
    """
    comptime matrix = UInt64(0x4080) << UInt64(48 - 8 * place)
    return llvm_intrinsic["llvm.x86.vgf2p8affineqb.512", Lanes, has_side_effect=False](
        v, bitcast[DType.uint8, BYTE_LANES](SIMD[DType.uint64, LONG_LANES](matrix)), UInt8(0)
    )


@always_inline
def triple_sum(codes: Bytes, tables: Array[Lanes, 2 * TABLES], first: Int) -> Lanes:
    """Looked-up bytes of one triple, added: at most 124 with VBMI, 186 without. The tables of
    the triple start at `first`.
    """
    var a = codes.unsafe_load[width=BYTE_LANES](0)
    var b = codes.unsafe_load[width=BYTE_LANES](BLOCK_ROWS)
    var c = codes.unsafe_load[width=BYTE_LANES](2 * BLOCK_ROWS)
    comptime if HAS_VBMI:
        var tops = (top_bits[0](a) | top_bits[2](b)) | top_bits[4](c)
        return (look_up(tables[first], a) + look_up(tables[first + 1], b)) + (
            look_up(tables[first + 2], c) + look_up(tables[first + 3], tops)
        )
    else:
        var m = Lanes(0x0F)
        var x = look_up(tables[first], a & m) + look_up(tables[first + 1], shifted_right[4](a) & m)
        var y = look_up(tables[first + 2], b & m) + look_up(
            tables[first + 3], shifted_right[4](b) & m
        )
        var z = look_up(tables[first + 4], c & m) + look_up(
            tables[first + 5], shifted_right[4](c) & m
        )
        return x + y + z


@always_inline
def scan_rows[TRIPLES: Int](codes: Bytes, triples: Int, tables: Bytes, sums: Shorts):
    """Estimates of one block. Within a register's worth of rows the sums of even rows come
    first, then those of odd rows; `row_of_position` undoes it.
    """
    comptime REGISTERS = BLOCK_ROWS // BYTE_LANES
    comptime PAIR = 2 if HAS_VBMI else 1  # triples whose bytes add up without overflow
    comptime TRIPLE = 3 * BLOCK_ROWS
    var count = TRIPLES if TRIPLES > 0 else triples
    var even = Array[Wide, REGISTERS](fill=Wide(0))
    var odd = Array[Wide, REGISTERS](fill=Wide(0))
    var held = Array[Lanes, 2 * TABLES](fill=Lanes(0))
    var t = 0
    while t + PAIR <= count:
        comptime for i in range(PAIR * TABLES):
            held[i] = tables.unsafe_load[width=BYTE_LANES]((t * TABLES + i) * BYTE_LANES)
        comptime for r in range(REGISTERS):
            var p = codes.unsafe_offset(r * BYTE_LANES + t * TRIPLE)
            var s = triple_sum(p, held, 0)
            comptime if PAIR == 2:
                s += triple_sum(p.unsafe_offset(TRIPLE), held, TABLES)
            var w = bitcast[DType.uint16, SHORT_LANES](s)
            even[r] += w
            odd[r] += w >> 8
        t += PAIR
    if t < count:
        comptime for i in range(TABLES):
            held[i] = tables.unsafe_load[width=BYTE_LANES]((t * TABLES + i) * BYTE_LANES)
        comptime for r in range(REGISTERS):
            var s = triple_sum(codes.unsafe_offset(r * BYTE_LANES + t * TRIPLE), held, 0)
            var w = bitcast[DType.uint16, SHORT_LANES](s)
            even[r] += w
            odd[r] += w >> 8
    comptime for r in range(REGISTERS):
        sums.unsafe_store(r * BYTE_LANES, even[r] - (odd[r] << 8))
        sums.unsafe_store(r * BYTE_LANES + SHORT_LANES, odd[r])


@always_inline
def scan_blocks[TRIPLES: Int](codes: Bytes, triples: Int, blocks: Int, tables: Bytes, sums: Shorts):
    """Estimates of `blocks` blocks of rows, one after another: memory is read in order."""
    for block in range(blocks):
        scan_rows[TRIPLES](
            codes.unsafe_offset(block * triples * 3 * BLOCK_ROWS),
            triples,
            tables,
            sums.unsafe_offset(block * BLOCK_ROWS),
        )


@always_inline
def scan1(codes: Bytes, dim: Int, blocks: Int, tables: Bytes, sums: Shorts):
    """Estimates of consecutive blocks; 384 and 768 components have loops of fixed length."""
    var triples = sign_bytes(dim) // 3
    if triples == 16:
        scan_blocks[16](codes, 16, blocks, tables, sums)
    elif triples == 32:
        scan_blocks[32](codes, 32, blocks, tables, sums)
    else:
        scan_blocks[0](codes, triples, blocks, tables, sums)


@always_inline
def row_of_position(position: Int) -> Int:
    """The row, counted from the first block, whose estimate stands at a position."""
    var lane = position & (BYTE_LANES - 1)
    var odd = lane // SHORT_LANES
    return (position & ~(BYTE_LANES - 1)) + 2 * (lane & (SHORT_LANES - 1)) + odd


@fieldwise_init
struct Source(TrivialRegisterPassable):
    """Codes in blocks of `stride` bytes, and the tables of the query that is asked of them."""

    var codes: Bytes
    var stride: Int
    var dim: Int
    var tables: Bytes
