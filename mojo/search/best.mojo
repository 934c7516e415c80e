"""The best k rows so far: a min-heap of 64-bit keys that order by score, then by row.

A key holds the score's bits, mapped so that unsigned order is numeric order, above the
inverted row number. Greater is better, equal scores put the lower row first, and no two
rows share a key; so the order of an answer never depends on the order of the scan.
Zero is below every key and marks an empty slot.
"""
from std.memory import bitcast
from lanes import Keys


@always_inline
def key_of(score: Float32, row: Int) -> UInt64:
    """The key of a row. Negative zero counts as zero."""
    var bits = bitcast[DType.uint32, 1](score + Float32(0))
    var sign = UInt32(0) - (bits >> 31)
    bits ^= sign | 0x8000_0000
    return (UInt64(bits) << 32) | UInt64(0xFFFF_FFFF - row)


@always_inline
def score_of(key: UInt64) -> Float32:
    """The score inside a key."""
    var bits = UInt32(key >> 32)
    var sign = (bits >> 31) - 1
    return bitcast[DType.float32, 1](bits ^ (sign | 0x8000_0000))


@always_inline
def row_of(key: UInt64) -> Int:
    """The row inside a key."""
    return 0xFFFF_FFFF - Int(key & 0xFFFF_FFFF)


@always_inline
def clear(heap: Keys, k: Int):
    """Empty k slots."""
    for i in range(k):
        heap[unsafe_offset=i] = 0


@always_inline
def sift(heap: Keys, k: Int, key: UInt64):
    """Replace the root, the worst key, by a new one and restore the heap."""
    var i = 0
    while True:
        var child = 2 * i + 1
        if child >= k:
            break
        var least = heap[unsafe_offset=child]
        if child + 1 < k:
            var right = heap[unsafe_offset=child + 1]
            if right < least:
                child += 1
                least = right
        if key <= least:
            break
        heap[unsafe_offset=i] = least
        i = child
    heap[unsafe_offset=i] = key


@always_inline
def offer(heap: Keys, k: Int, key: UInt64):
    """Keep the key if it is better than the worst one kept."""
    if key > heap[unsafe_offset=0]:
        sift(heap, k, key)


@always_inline
def worst_score(heap: Keys) -> Float32:
    """A score must exceed this to enter; minus infinity while a slot is empty.

    Scans visit rows in ascending order, so a later row with the same score never enters.
    """
    var root = heap[unsafe_offset=0]
    return score_of(root) if root != 0 else Float32.MIN


def sort_best_first(heap: Keys, k: Int):
    """Heap sort in place: best key first, empty slots last."""
    var m = k
    while m > 1:
        m -= 1
        var last = heap[unsafe_offset=m]
        heap[unsafe_offset=m] = heap[unsafe_offset=0]
        sift(heap, m, last)
