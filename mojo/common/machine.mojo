"""What kernels of every part share: pointer types, and what the target CPU can do.

Three variants are compiled from the same sources: AVX2 (x86-64-v3), AVX-512 with VNNI, and
AVX-512 with VNNI, VBMI and GFNI. A kernel asks the flags below at compile time; no kernel asks the
CPU at run time.
"""
from std.memory import Pointer
from std.sys import CompilationTarget

comptime Floats = Pointer[Float32, MutUntrackedOrigin]
comptime Doubles = Pointer[Float64, MutUntrackedOrigin]
comptime Halves = Pointer[Float16, MutUntrackedOrigin]
comptime Bytes = Pointer[UInt8, MutUntrackedOrigin]
comptime SignedBytes = Pointer[Int8, MutUntrackedOrigin]
comptime Shorts = Pointer[UInt16, MutUntrackedOrigin]
comptime Ints = Pointer[Int32, MutUntrackedOrigin]
comptime Counts = Pointer[UInt32, MutUntrackedOrigin]
comptime Longs = Pointer[Int64, MutUntrackedOrigin]
comptime Keys = Pointer[UInt64, MutUntrackedOrigin]
comptime Words = Pointer[Int, MutUntrackedOrigin]

comptime HAS_AVX512 = CompilationTarget._has_feature["avx512bw"]()
comptime HAS_VNNI = CompilationTarget._has_feature["avx512vnni"]()
comptime HAS_VBMI = CompilationTarget._has_feature[
    "avx512vbmi"
]() and CompilationTarget._has_feature[
    "gfni"
]()  # they came together


@always_inline
def round_up(n: Int, step: Int) -> Int:
    """The smallest multiple of step that is not below n."""
    return (n + step - 1) // step * step
