"""Register widths and orders of rows that every kernel of the search shares."""
from std.memory import bitcast
from machine import (
    Bytes,
    Counts,
    Doubles,
    Floats,
    HAS_AVX512,
    HAS_VBMI,
    HAS_VNNI,
    Ints,
    Keys,
    Longs,
    Shorts,
    SignedBytes,
    round_up,
)

comptime BYTE_LANES = 64 if HAS_AVX512 else 32
comptime SHORT_LANES = BYTE_LANES // 2
comptime INT_LANES = BYTE_LANES // 4
comptime LONG_LANES = BYTE_LANES // 8

comptime BLOCK_ROWS = 64  # rows that lie interleaved in the 1-bit codes
comptime CHUNK = 16384  # rows estimated at a time: 32 kB of estimates, close to the core


@always_inline
def allowed(bitmap: Bytes, filtered: Bool, row: Int) -> Bool:
    """Whether a row may be answered: bit row of the bitmap, or always when nothing filters."""
    if not filtered:
        return True
    return (bitmap[unsafe_offset=row >> 3] >> UInt8(row & 7)) & 1 != 0
