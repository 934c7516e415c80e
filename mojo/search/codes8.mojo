"""8-bit codes: one byte a component and one scale a row, scored with integer dot products.

A component x of a row becomes round(x / scale) + 128 with scale = max|x| / 127. A query is
coded the same way but signed. Integer sums do not depend on the order of addition, so every
variant and the NumPy reference find exactly the same sums. Rows are padded to whole registers with
128, queries with 0.
"""
from std.bit import pop_count
from std.memory import pack_bits
from std.sys import llvm_intrinsic, prefetch
from lanes import (
    BYTE_LANES,
    Bytes,
    Floats,
    HAS_VNNI,
    INT_LANES,
    Keys,
    SignedBytes,
    allowed,
    round_up,
)
from best import clear, key_of, offer, row_of, sift, worst_score

comptime PAD = 64  # bytes; row stride of the codes is a multiple of it
comptime ROWS = 4
comptime SLACK = 2  # candidates more than asked for that are cheaper to keep than to part with


@always_inline
def rounded(x: Float32) -> Int32:
    """Nearest integer, ties to even, as NumPy's rint."""
    return Int32(x.__round__())


@always_inline
def largest(p: Floats, dim: Int) -> Float32:
    """The largest magnitude among dim floats, never less than 1e-30."""
    comptime W = INT_LANES
    var most = SIMD[DType.float32, W](1e-30)
    var j = 0
    while j + W <= dim:
        most = max(most, abs(p.unsafe_load[width=W](j)))
        j += W
    var top = most.reduce_max()
    while j < dim:
        top = max(top, abs(p[unsafe_offset=j]))
        j += 1
    return top


def encode8(rows: Floats, first: Int, last: Int, dim: Int, codes: Bytes, scales: Floats):
    """Code rows [first, last)."""
    var stride = round_up(dim, PAD)
    for i in range(first, last):
        var p = rows.unsafe_offset(i * dim)
        var top = largest(p, dim)
        scales[unsafe_offset=i] = top / 127
        var inverse = 127 / top
        var c = codes.unsafe_offset(i * stride)
        comptime W = INT_LANES
        var j = 0
        while j + W <= dim:
            var v = (p.unsafe_load[width=W](j) * inverse).__round__().cast[DType.int32]() + 128
            c.unsafe_store(j, v.cast[DType.uint8]())
            j += W
        while j < dim:
            c[unsafe_offset=j] = UInt8(rounded(p[unsafe_offset=j] * inverse) + 128)
            j += 1
        while j < stride:
            c[unsafe_offset=j] = 128
            j += 1


@always_inline
def encode_query8(query: Floats, dim: Int, codes: SignedBytes) -> Int32:
    """Code a query; returns what the rows' offset of 128 adds to every integer sum."""
    comptime W = INT_LANES
    var inverse = 127 / largest(query, dim)
    var sums = SIMD[DType.int32, W](0)
    var j = 0
    while j + W <= dim:
        var v = (query.unsafe_load[width=W](j) * inverse).__round__().cast[DType.int32]()
        codes.unsafe_store(j, v.cast[DType.int8]())
        sums += v
        j += W
    var sum = sums.reduce_add()
    while j < dim:
        var v = rounded(query[unsafe_offset=j] * inverse)
        codes[unsafe_offset=j] = Int8(v)
        sum += v
        j += 1
    while j < round_up(dim, PAD):
        codes[unsafe_offset=j] = 0
        j += 1
    return sum * 128


comptime Sums = SIMD[DType.int32, INT_LANES]


@always_inline
def multiply_add(
    sums: Sums, row: SIMD[DType.uint8, BYTE_LANES], query: SIMD[DType.int8, BYTE_LANES]
) -> Sums:
    """Add the products of four neighbouring bytes to each 32-bit lane, without saturation."""
    comptime if HAS_VNNI:
        return llvm_intrinsic["llvm.x86.avx512.vpdpbusd.512", Sums, has_side_effect=False](
            sums, row, query
        )
    else:
        comptime H = BYTE_LANES // 2
        comptime pairs = "llvm.x86.avx2.pmadd.wd" if BYTE_LANES == 32 else "llvm.x86.avx512.pmaddw.d.512"
        var low = llvm_intrinsic[pairs, Sums, has_side_effect=False](
            row.slice[H, offset=0]().cast[DType.int16](),
            query.slice[H, offset=0]().cast[DType.int16](),
        )
        var high = llvm_intrinsic[pairs, Sums, has_side_effect=False](
            row.slice[H, offset=H]().cast[DType.int16](),
            query.slice[H, offset=H]().cast[DType.int16](),
        )
        return sums + low + high


@always_inline
def sums8[R: Int](p: Bytes, query: SignedBytes, stride: Int) -> SIMD[DType.int32, R]:
    """Integer dot products of R consecutive coded rows with a coded query."""
    var acc = Array[Sums, R](fill=Sums(0))
    var b = 0
    while b < stride:
        var q = query.unsafe_load[width=BYTE_LANES](b)
        comptime for r in range(R):
            acc[r] = multiply_add(acc[r], p.unsafe_load[width=BYTE_LANES](r * stride + b), q)
        b += BYTE_LANES
    var out_sums = SIMD[DType.int32, R](0)
    comptime for r in range(R):
        out_sums[r] = acc[r].reduce_add()
    return out_sums


@always_inline
def scan8(
    codes: Bytes,
    scales: Floats,
    query: SignedBytes,
    offset: Int32,
    n: Int,
    stride: Int,
    bitmap: Bytes,
    filtered: Bool,
    heap: Keys,
    keep: Int,
):
    """Leave the best `keep` of rows [0, n) in the heap, by their 8-bit scores."""
    clear(heap, keep)
    var bar = worst_score(heap)
    var i = 0
    while i + ROWS <= n:
        var s = (sums8[ROWS](codes.unsafe_offset(i * stride), query, stride) - offset).cast[
            DType.float32
        ]() * scales.unsafe_load[width=ROWS](i)
        if s.reduce_max() > bar:
            comptime for r in range(ROWS):
                if s[r] > bar and allowed(bitmap, filtered, i + r):
                    sift(heap, keep, key_of(s[r], i + r))
                    bar = worst_score(heap)
        i += ROWS
    while i < n:
        var s = (
            Float32(sums8[1](codes.unsafe_offset(i * stride), query, stride)[0] - offset)
            * scales[unsafe_offset=i]
        )
        if s > bar and allowed(bitmap, filtered, i):
            sift(heap, keep, key_of(s, i))
            bar = worst_score(heap)
        i += 1


@always_inline
def reach(scores: Floats, count: Int, bar: Float32) -> Int:
    """How many of the scores are at least the bar; count is a multiple of the lanes."""
    var total = 0
    var i = 0
    while i < count:
        var above = scores.unsafe_load[width=INT_LANES](i).ge(bar)
        total += Int(pop_count(UInt32(pack_bits(above))))
        i += INT_LANES
    return total


@always_inline
def keep_few(scores: Floats, candidates: Keys, count: Int, few: Keys, keep: Int) -> Int:
    """Collect the keys of at least the best `keep` scores, a few more when they lie close
    together; returns how many. Bisection has no branch that depends on the data's order, which
    a heap has.
    """
    var padded = round_up(count, INT_LANES)
    for z in range(count, padded):
        scores[unsafe_offset=z] = Float32.MIN
    var low = Float32.MAX
    var high = Float32.MIN
    var i = 0
    while i < padded:
        high = max(high, scores.unsafe_load[width=INT_LANES](i).reduce_max())
        i += INT_LANES
    for z in range(count):
        low = min(low, scores[unsafe_offset=z])
    var reached = count
    for _ in range(24):
        if reached <= keep + SLACK:
            break
        var middle = low + (high - low) * Float32(0.5)
        var n = reach(scores, padded, middle)
        if n >= keep:
            low = middle
            reached = n
        else:
            high = middle
    if reached > keep + SLACK:  # many equal scores: the heap knows which rows come first
        clear(few, keep)
        for z in range(count):
            offer(
                few,
                keep,
                key_of(scores[unsafe_offset=z], row_of(candidates[unsafe_offset=z])),
            )
        return keep
    var found = 0
    for z in range(count):
        few[unsafe_offset=found] = candidates[unsafe_offset=z]
        found += Int(scores[unsafe_offset=z] >= low)
    return found


@always_inline
def rescore8(
    codes: Bytes,
    scales: Floats,
    query: SignedBytes,
    offset: Int32,
    stride: Int,
    candidates: Keys,
    count: Int,
    scores: Floats,
    few: Keys,
    keep: Int,
) -> Int:
    """Leave the best `keep` of the candidate rows, and perhaps a few more, in `few`, by their
    8-bit scores; returns how many. `few` has room for `keep + SLACK + 1`.
    """
    comptime AHEAD = 5
    for z in range(count):
        if z + AHEAD < count:
            var soon = codes.unsafe_offset(row_of(candidates[unsafe_offset=z + AHEAD]) * stride)
            var j = 0
            while j < stride:
                prefetch(soon.unsafe_offset(j))
                j += 64
        var row = row_of(candidates[unsafe_offset=z])
        var s = sums8[1](codes.unsafe_offset(row * stride), query, stride)[0] - offset
        scores[unsafe_offset=z] = Float32(s) * scales[unsafe_offset=row]
    if count <= keep:
        for z in range(count):
            few[unsafe_offset=z] = candidates[unsafe_offset=z]
        return count
    return keep_few(scores, candidates, count, few, keep)
