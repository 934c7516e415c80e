"""From estimates to candidates: the rows whose estimate is among the best `depth`.

The first chunk of rows tells how high the bar may lie: the highest value that `depth` of
its rows reach, found by bisection with counting passes. Later rows must exceed the bar. When
the sieve is full, another bisection raises the bar. Rows with equal estimates that no longer fit
are dropped from the highest row down.
"""
from std.bit import count_trailing_zeros, pop_count
from std.memory import pack_bits
from lanes import (
    BLOCK_ROWS,
    Bytes,
    CHUNK,
    Keys,
    LONG_LANES,
    SHORT_LANES,
    Shorts,
    allowed,
)
from codes1 import Source, Wide, row_of_position, scan1, sign_bytes
from lists import Walk

comptime Marks = Keys
comptime MARKS = CHUNK // SHORT_LANES + 1  # registers of a chunk, and one written past them


@always_inline
def capacity(depth: Int) -> Int:
    """Slots of a sieve: room between two bisections, and for one register more."""
    return 4 * depth + 1024


@always_inline
def reach[STEP: Int](sums: Shorts, count: Int, bar: UInt16) -> Int:
    """How many of the estimates in every STEP-th register are at least the bar; count is a
    multiple of the lanes.
    """
    var bars = Wide(bar)
    var total = 0
    var i = 0
    while i < count:
        total += Int(pop_count(UInt64(pack_bits(sums.unsafe_load[width=SHORT_LANES](i).ge(bars)))))
        i += SHORT_LANES * STEP
    return total


@always_inline
def highest_bar[STEP: Int](sums: Shorts, count: Int, depth: Int, lowest: Int, top: Int) -> Int:
    """The highest bar from `lowest` on that at least `depth` of the estimates in every STEP-th
    register reach, or a little below it; `lowest` when fewer reach any.
    """
    var low = lowest
    var high = top + 1
    while high - low > 1:
        var middle = (low + high) // 2
        var n = reach[STEP](sums, count, UInt16(middle))
        if n >= depth:
            low = middle
            if n <= depth + depth // 8:
                break
        else:
            high = middle
    return low


@always_inline
def sampled_bar(sums: Shorts, count: Int, depth: Int, top: Int) -> Int:
    """A bar that, going by a sample, a third more than `depth` of the estimates reach."""
    comptime STEP = 8
    var share = depth // STEP
    if count < SHORT_LANES * STEP * 16:
        return highest_bar[1](sums, count, depth, 0, top)
    return highest_bar[STEP](sums, count, share + share // 3 + 6, 0, top)


@always_inline
def mark(sums: Shorts, count: Int, bar: Int, marks: Marks) -> Tuple[Int, Int]:
    """Note the registers in which an estimate reaches the bar, each as its lanes' bits above its
    position; returns how many registers and how many estimates. Nothing branches on the data.
    """
    var bars = Wide(UInt16(bar))
    var busy = 0
    var total = 0
    var i = 0
    while i < count:
        var hits = UInt64(pack_bits(sums.unsafe_load[width=SHORT_LANES](i).ge(bars)))
        marks[unsafe_offset=busy] = (hits << 32) | UInt64(i)
        busy += Int(hits != 0)
        total += Int(pop_count(hits))
        i += SHORT_LANES
    return (busy, total)


@always_inline
def keys_reach(keys: Keys, count: Int, bar: UInt64) -> Int:
    """How many of the keys are at least the bar."""
    var bars = SIMD[DType.uint64, LONG_LANES](bar)
    var total = 0
    var i = 0
    while i + LONG_LANES <= count:
        total += Int(pop_count(UInt32(pack_bits(keys.unsafe_load[width=LONG_LANES](i).ge(bars)))))
        i += LONG_LANES
    while i < count:
        total += Int(keys[unsafe_offset=i] >= bar)
        i += 1
    return total


def keep_best(sieve: Keys, count: Int, depth: Int, floor: Int, top: Int) -> Tuple[Int, Int]:
    """Drop what is not among the best `depth`, ties kept; returns how many stay and a bound
    below their estimates.
    """
    var low = floor
    var high = top + 1
    while high - low > 1:
        var middle = (low + high) // 2
        var n = keys_reach(sieve, count, UInt64(middle) << 32)
        if n >= depth:
            low = middle
            if n <= depth + depth // 16:
                break
        else:
            high = middle
    var limit = UInt64(low) << 32
    var kept = 0
    for z in range(count):
        var key = sieve[unsafe_offset=z]
        sieve[unsafe_offset=kept] = key
        kept += Int(key >= limit)
    return (kept, low)


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
def scan_chunk(index: Source, first: Int, n: Int, sums: Shorts) -> Int:
    """Estimates of the rows from `first` on, a chunk at most; returns how many registers' worth
    of positions there are. Positions past the last row get 0.
    """
    var rows = min(CHUNK, n - first)
    var blocks = (rows + BLOCK_ROWS - 1) // BLOCK_ROWS
    scan1(
        index.codes.unsafe_offset(first // BLOCK_ROWS * index.stride),
        index.dim,
        blocks,
        index.tables,
        sums,
    )
    if rows % BLOCK_ROWS != 0:  # the last block is not full
        for position in range((blocks - 1) * BLOCK_ROWS, blocks * BLOCK_ROWS):
            if row_of_position(position) >= rows:
                sums[unsafe_offset=position] = 0
    return blocks * BLOCK_ROWS


@always_inline
def sift_rows[
    LISTED: Bool
](
    source: Source,
    mut walk: Walk,
    n: Int,
    bitmap: Bytes,
    filtered: Bool,
    depth: Int,
    guess: Bool,
    sums: Shorts,
    marks: Marks,
    sieve: Keys,
) -> Int:
    """Fill the sieve with keys (estimate above inverted row) of all rows, or of the lists that
    the walk visits; returns how many.

    With `guess` the bar starts where the first chunk suggests, which may be too high when
    few rows are allowed; the caller then asks again without.
    """
    var top = sign_bytes(source.dim) * 2 * 31
    var slots = capacity(depth)
    var count = 0
    var bar = 0  # the least estimate that enters
    var floor = 0  # no estimate in the sieve lies below
    var first = 0
    while True:
        var positions: Int
        comptime if LISTED:
            positions = walk.scan_chunk(source, n, sums)
            if positions == 0:
                break
        else:
            if first >= n:
                break
            positions = scan_chunk(source, first, n, sums)
        var guessing = guess and first == 0 and positions > depth + depth // 2 + BLOCK_ROWS
        if guessing:
            bar = sampled_bar(sums, positions, depth, top)
        var busy, total = mark(sums, positions, bar, marks)
        if guessing:
            if total < depth:  # the sample was not like the rest
                bar = highest_bar[1](sums, positions, depth, 0, bar)
                busy, _ = mark(sums, positions, bar, marks)
            floor = bar
        for word in range(busy):
            var position = Int(marks[unsafe_offset=word] & 0xFFFF_FFFF)
            var hits = marks[unsafe_offset=word] >> 32
            while hits != 0:
                var at = position + Int(count_trailing_zeros(hits))
                hits &= hits - 1
                var row: Int
                comptime if LISTED:
                    row = walk.row(row_of_position(at))
                else:
                    row = first + row_of_position(at)
                var estimate = Int(sums[unsafe_offset=at])
                sieve[unsafe_offset=count] = (UInt64(estimate) << 32) | UInt64(0xFFFF_FFFF - row)
                count += Int(row < n and estimate >= bar and allowed(bitmap, filtered, row))
            if count + SHORT_LANES > slots:
                var kept, lowest = keep_best(sieve, count, depth, floor, top)
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
                    comptime if LISTED:  # rows come in any order: an equal estimate may matter
                        bar = floor
                    else:
                        bar = floor + 1
        first += CHUNK
    if count > depth + depth // 8:
        var kept, _ = keep_best(sieve, count, depth, floor, top)
        count = kept
    if count > 2 * depth:
        partition_best(sieve, count, depth)
        count = depth
    return count
