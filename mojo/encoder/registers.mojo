"""What every part of the encoder shares: pointer types, vectors, and what the CPU can do.

Vectors have 16 lanes in every variant: with AVX2 the compiler makes two registers of each.
Three variants are compiled from the same sources; a kernel asks the flags below at compile
time and no kernel asks the CPU at run time.
"""
from std.memory import Pointer
from std.sys import CompilationTarget

comptime Floats = Pointer[Float32, MutUntrackedOrigin]
comptime Bytes = Pointer[UInt8, MutUntrackedOrigin]
comptime SignedBytes = Pointer[Int8, MutUntrackedOrigin]
comptime Ints = Pointer[Int32, MutUntrackedOrigin]
comptime Words = Pointer[Int, MutUntrackedOrigin]

comptime HAS_VNNI = CompilationTarget._has_feature["avx512vnni"]()
comptime HAS_VBMI = CompilationTarget._has_feature["avx512vbmi"]()

comptime LANES = 16
comptime F = SIMD[DType.float32, LANES]
comptime I = SIMD[DType.int32, LANES]
comptime LINE = 64  # bytes; every array of an image and of the working memory begins on one


@always_inline
def round_up(n: Int, step: Int) -> Int:
    """The smallest multiple of step that is not below n."""
    return (n + step - 1) // step * step
