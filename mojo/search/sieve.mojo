"""From estimates to candidates: the rows whose estimate is among the best `depth`.

The first chunk of rows tells how high the bar may lie: the highest value that `depth` of
its rows reach, found by bisection with counting passes. Later rows must exceed the bar. When
the sieve is full, a histogram raises the bar. Rows with equal estimates that no longer fit
are dropped from the highest row down.
"""
from std.bit import count_trailing_zeros, pop_count
from std.memory import pack_bits
from std.sys import prefetch
from lanes import (
    BLOCK_ROWS,
    BYTE_LANES,
    Bytes,
    Keys,
    SHORT_LANES,
    Shorts,
    allowed,
)
from codes1 import Wide, row_of_position, scan1, sign_bytes

comptime CHUNK = 16384  # rows estimated at a time: 32 kB of estimates, close to the core
comptime BINS = 2048


@always_inline
def capacity(depth: Int) -> Int:
    """Slots of a sieve: room between two passes of the histogram, and for one register more."""
    return 4 * depth + 1024


@always_inline
def reach(sums: Shorts, count: Int, bar: UInt16) -> Int:
    """How many of the estimates are at least the bar; count is a multiple of the lanes."""
    var bars = Wide(bar)
    var total = 0
    var i = 0
    while i < count:
        total += Int(pop_count(UInt64(pack_bits(sums.unsafe_load[width=SHORT_LANES](i).ge(bars)))))
        i += SHORT_LANES
    return total


def highest_bar(sums: Shorts, count: Int, depth: Int, top: Int) -> Int:
    """The highest bar that at least `depth` of the estimates reach (0 when fewer there are)."""
    var low = 0
    var high = top + 1
    while high - low > 1:
        var middle = (low + high) // 2
        var n = reach(sums, count, UInt16(middle))
        if n >= depth:
            low = middle
            if n <= depth + depth // 8:
                break
        else:
            high = middle
    return low


def keep_best(
    sieve: Keys, count: Int, depth: Int, floor: Int, top: Int, bins: Shorts
) -> Tuple[Int, Int]:
    """Drop what is not among the best `depth`, ties kept; returns how many stay and their
    lowest estimate.
    """
    var shift = 0
    while (top - floor) >> shift >= BINS:
        shift += 1
    for b in range(BINS // 32):
        bins.unsafe_store(b * 32, SIMD[DType.uint16, 32](0))
    for z in range(count):
        var b = (Int(sieve[unsafe_offset=z] >> 32) - floor) >> shift
        bins[unsafe_offset=b] += 1
    var b = BINS
    var seen = 0
    while b > 0 and seen < depth:
        b -= 1
        seen += Int(bins[unsafe_offset=b])
    var lowest = floor + (b << shift)
    var limit = UInt64(lowest) << 32
    var kept = 0
    for z in range(count):
        var key = sieve[unsafe_offset=z]
        sieve[unsafe_offset=kept] = key
        kept += Int(key >= limit)
    return (kept, lowest)


def partition_best(keys: Keys, count: Int, depth: Int):
    """Bring the `depth` greatest keys to the front (Hoare's selection)."""
    var low = 0
    var high = count - 1
    while low < high:
        var pivot = keys[unsafe_offset=(low + high) // 2]
        var i = low
        var j = high
        while i <= j:
            while keys[unsafe_offset=i] > pivot:
                i += 1
            while keys[unsafe_offset=j] < pivot:
                j -= 1
            if i <= j:
                var swap = keys[unsafe_offset=i]
                keys[unsafe_offset=i] = keys[unsafe_offset=j]
                keys[unsafe_offset=j] = swap
                i += 1
                j -= 1
        if depth - 1 <= j:
            high = j
        elif depth - 1 >= i:
            low = i
        else:
            return


@always_inline
def sift_rows(
    codes: Bytes,
    n: Int,
    dim: Int,
    tables: Bytes,
    bitmap: Bytes,
    filtered: Bool,
    depth: Int,
    guess: Bool,
    sums: Shorts,
    bins: Shorts,
    sieve: Keys,
) -> Int:
    """Fill the sieve with keys (estimate above inverted row); returns how many.

    With `guess` the bar starts where the first chunk suggests, which may be too high when
    few rows are allowed; the caller then asks again without.
    """
    var stride = sign_bytes(dim) * BLOCK_ROWS
    var top = sign_bytes(dim) * 2 * 31
    var slots = capacity(depth)
    var count = 0
    var bar = 0  # the least estimate that enters
    var floor = 0  # no estimate in the sieve lies below
    var first = 0
    while first < n:
        var rows = min(CHUNK, n - first)
        var blocks = (rows + BLOCK_ROWS - 1) // BLOCK_ROWS
        scan1(codes.unsafe_offset(first // BLOCK_ROWS * stride), dim, blocks, tables, sums)
        if rows % BLOCK_ROWS != 0:  # the last block is not full
            for position in range((blocks - 1) * BLOCK_ROWS, blocks * BLOCK_ROWS):
                if row_of_position(position) >= rows:
                    sums[unsafe_offset=position] = 0
        if guess and first == 0 and rows > depth + depth // 2:
            bar = highest_bar(sums, blocks * BLOCK_ROWS, depth, top)
            floor = bar
        var position = 0
        while position < blocks * BLOCK_ROWS:
            var v = sums.unsafe_load[width=SHORT_LANES](position)
            var hits = UInt64(pack_bits(v.ge(Wide(UInt16(bar)))))
            while hits != 0:
                var lane = Int(count_trailing_zeros(hits))
                hits &= hits - 1
                var row = first + row_of_position(position + lane)
                if row < n and allowed(bitmap, filtered, row):
                    var estimate = UInt64(sums[unsafe_offset=position + lane])
                    sieve[unsafe_offset=count] = (estimate << 32) | UInt64(0xFFFF_FFFF - row)
                    count += 1
            position += SHORT_LANES
            if count + SHORT_LANES > slots:
                var kept, lowest = keep_best(sieve, count, depth, floor, top, bins)
                count = kept
                floor = lowest
                bar = lowest
                if count > slots // 2:  # too many equal estimates: the lowest rows stay
                    partition_best(sieve, count, depth)
                    count = depth
                    var worst = sieve[unsafe_offset=0]
                    for z in range(1, depth):
                        worst = min(worst, sieve[unsafe_offset=z])
                    floor = Int(worst >> 32)
                    bar = floor + 1
        first += CHUNK
    if count > depth + depth // 2:
        var kept, _ = keep_best(sieve, count, depth, floor, top, bins)
        count = kept
    if count > 2 * depth:
        partition_best(sieve, count, depth)
        count = depth
    return count
