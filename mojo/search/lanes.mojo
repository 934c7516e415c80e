"""What every kernel shares: pointer types, register widths, and what the target CPU can do.

Three variants are compiled from the same sources: AVX2 (x86-64-v3), AVX-512 with VNNI, and
AVX-512 with VNNI, VBMI and GFNI. A kernel asks the flags below at compile time; no kernel asks the
CPU at run time.
"""
from std.memory import Pointer, bitcast
from std.sys import CompilationTarget

comptime Floats = Pointer[Float32, MutUntrackedOrigin]
comptime Doubles = Pointer[Float64, MutUntrackedOrigin]
comptime Bytes = Pointer[UInt8, MutUntrackedOrigin]
comptime SignedBytes = Pointer[Int8, MutUntrackedOrigin]
comptime Shorts = Pointer[UInt16, MutUntrackedOrigin]
comptime Ints = Pointer[Int32, MutUntrackedOrigin]
comptime Counts = Pointer[UInt32, MutUntrackedOrigin]
comptime Longs = Pointer[Int64, MutUntrackedOrigin]
comptime Keys = Pointer[UInt64, MutUntrackedOrigin]

comptime HAS_AVX512 = CompilationTarget._has_feature["avx512bw"]()
comptime HAS_VNNI = CompilationTarget._has_feature["avx512vnni"]()
comptime HAS_VBMI = CompilationTarget._has_feature[
    "avx512vbmi"
]() and CompilationTarget._has_feature[
    "gfni"
]()  # they came together

comptime BYTE_LANES = 64 if HAS_AVX512 else 32
comptime SHORT_LANES = BYTE_LANES // 2
comptime INT_LANES = BYTE_LANES // 4
comptime LONG_LANES = BYTE_LANES // 8

comptime BLOCK_ROWS = 64  # rows that lie interleaved in the 1-bit codes
comptime CHUNK = 16384  # rows estimated at a time: 32 kB of estimates, close to the core


@always_inline
def round_up(n: Int, step: Int) -> Int:
    """The smallest multiple of step that is not below n."""
    return (n + step - 1) // step * step


@always_inline
def allowed(bitmap: Bytes, filtered: Bool, row: Int) -> Bool:
    """Whether a row may be answered: bit row of the bitmap, or always when nothing filters."""
    if not filtered:
        return True
    return (bitmap[unsafe_offset=row >> 3] >> UInt8(row & 7)) & 1 != 0
