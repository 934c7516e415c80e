"""Float32 rows against a float32 query: the exact scan and the exact re-scoring.

The scan sums in float32, every row in the same order, so equal rows have equal sums. The
re-scoring sums in float64 and rounds once: that is the score a caller sees, whichever
method found the row.
"""
from std.sys import prefetch, simd_width_of
from lanes import Bytes, Doubles, Floats, Keys, allowed
from best import clear, key_of, offer, row_of, sift, sort_best_first, worst_score

comptime W = simd_width_of[DType.float32]()
comptime W64 = simd_width_of[DType.float64]()
comptime MOST_RANKED = 48  # keys that are ranked by counting; more go through a heap
comptime ROWS = 4  # rows scored together, so that the query is loaded once for all of them


@always_inline
def dot_rows[R: Int](rows: Floats, query: Floats, dim: Int) -> SIMD[DType.float32, R]:
    """Dot products of R consecutive rows of `dim` floats with the query."""
    var even = Array[SIMD[DType.float32, W], R](fill=SIMD[DType.float32, W](0))
    var odd = Array[SIMD[DType.float32, W], R](fill=SIMD[DType.float32, W](0))
    var j = 0
    while j + 2 * W <= dim:
        var x = query.unsafe_load[width=W](j)
        var y = query.unsafe_load[width=W](j + W)
        comptime for r in range(R):
            even[r] = rows.unsafe_load[width=W](r * dim + j).fma(x, even[r])
            odd[r] = rows.unsafe_load[width=W](r * dim + j + W).fma(y, odd[r])
        j += 2 * W
    var sums = SIMD[DType.float32, R](0)
    comptime for r in range(R):
        sums[r] = (even[r] + odd[r]).reduce_add()
    while j < dim:
        var x = query[unsafe_offset=j]
        comptime for r in range(R):
            sums[r] = rows[unsafe_offset=r * dim + j].fma(x, sums[r])
        j += 1
    return sums


@always_inline
def scan_exact(
    rows: Floats,
    query: Floats,
    n: Int,
    dim: Int,
    bitmap: Bytes,
    filtered: Bool,
    heap: Keys,
    keep: Int,
):
    """Leave the best `keep` of rows [0, n) in the heap, by their float32 sums."""
    clear(heap, keep)
    var bar = worst_score(heap)
    var i = 0
    while i + ROWS <= n:
        var s = dot_rows[ROWS](rows.unsafe_offset(i * dim), query, dim)
        if s.reduce_max() > bar:
            comptime for r in range(ROWS):
                if s[r] > bar and allowed(bitmap, filtered, i + r):
                    sift(heap, keep, key_of(s[r], i + r))
                    bar = worst_score(heap)
        i += ROWS
    while i < n:
        var s = dot_rows[1](rows.unsafe_offset(i * dim), query, dim)[0]
        if s > bar and allowed(bitmap, filtered, i):
            sift(heap, keep, key_of(s, i))
            bar = worst_score(heap)
        i += 1


@always_inline
def dot_double(row: Floats, query: Doubles, dim: Int) -> Float64:
    """One dot product in float64."""
    var a = SIMD[DType.float64, W64](0)
    var b = SIMD[DType.float64, W64](0)
    var c = SIMD[DType.float64, W64](0)
    var e = SIMD[DType.float64, W64](0)
    var j = 0
    while j + 4 * W64 <= dim:
        a = (
            row.unsafe_load[width=W64](j)
            .cast[DType.float64]()
            .fma(query.unsafe_load[width=W64](j), a)
        )
        b = (
            row.unsafe_load[width=W64](j + W64)
            .cast[DType.float64]()
            .fma(query.unsafe_load[width=W64](j + W64), b)
        )
        c = (
            row.unsafe_load[width=W64](j + 2 * W64)
            .cast[DType.float64]()
            .fma(query.unsafe_load[width=W64](j + 2 * W64), c)
        )
        e = (
            row.unsafe_load[width=W64](j + 3 * W64)
            .cast[DType.float64]()
            .fma(query.unsafe_load[width=W64](j + 3 * W64), e)
        )
        j += 4 * W64
    var sum = ((a + b) + (c + e)).reduce_add()
    while j < dim:
        sum = Float64(row[unsafe_offset=j]).fma(query[unsafe_offset=j], sum)
        j += 1
    return sum


@always_inline
def rescore(
    rows: Floats,
    query: Doubles,
    scale: Float64,
    dim: Int,
    candidates: Keys,
    count: Int,
    best: Keys,
    k: Int,
):
    """Score the candidates exactly and put the best k, sorted, into `best`. `scale` is one over
    the query's length for cosine, one for the dot product. The candidates are used up.
    """
    comptime AHEAD = 4
    clear(best, k)
    for z in range(min(AHEAD, count)):
        request(rows, dim, candidates[unsafe_offset=z])
    for z in range(count):
        if z + AHEAD < count:
            request(rows, dim, candidates[unsafe_offset=z + AHEAD])
        var key = candidates[unsafe_offset=z]
        if key != 0:
            var row = row_of(key)
            var score = dot_double(rows.unsafe_offset(row * dim), query, dim) * scale
            candidates[unsafe_offset=z] = key_of(Float32(score), row)
    if count > MOST_RANKED:
        for z in range(count):
            offer(best, k, candidates[unsafe_offset=z])
        sort_best_first(best, k)
        return
    # the place of a key is the number of keys above it: no branch depends on their order
    for z in range(count):
        var key = candidates[unsafe_offset=z]
        var place = 0
        for other in range(count):
            place += Int(candidates[unsafe_offset=other] > key)
        if place < k and key != 0:
            best[unsafe_offset=place] = key


@always_inline
def request(rows: Floats, dim: Int, key: UInt64):
    """Ask the memory for a row that is needed soon."""
    if key != 0:
        var soon = rows.unsafe_offset(row_of(key) * dim)
        var j = 0
        while j < dim:
            prefetch(soon.unsafe_offset(j))
            j += 16
