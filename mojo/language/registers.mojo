"""Register shapes of the language model's kernels, and their smallest product.

Everything is written for registers of 16 floats or 64 bytes; on AVX2 the compiler uses two of
its own for one of them. A tile is 16 rows of a matrix that lie interleaved, so that one register
holds the same column of 16 rows and no sum is ever taken across lanes.
"""
from std.memory import bitcast
from std.sys import llvm_intrinsic
from machine import (
    Bytes,
    Floats,
    HAS_AVX512,
    HAS_VNNI,
    Halves,
    Ints,
    Shorts,
    SignedBytes,
    Words,
    round_up,
)

comptime F16 = SIMD[DType.float32, 16]
comptime I16 = SIMD[DType.int32, 16]
comptime U64 = SIMD[DType.uint8, 64]

comptime TILE = 16  # rows of a matrix that are computed together
comptime BLOCK = 32  # activations with one scale
comptime WIDE = 12 if HAS_AVX512 else 4  # tokens that share one read of the weights
comptime MIDDLE = 8 if HAS_AVX512 else 4
comptime NARROW = 4


@always_inline
def split_pair(
    acc: SIMD[DType.int32, 8], u: SIMD[DType.uint8, 32], s: SIMD[DType.int8, 32]
) -> SIMD[DType.int32, 8]:
    """Add products of four neighbouring bytes on AVX2; exact while no pair exceeds 32767."""
    var pairs = llvm_intrinsic[
        "llvm.x86.avx2.pmadd.ub.sw", SIMD[DType.int16, 16], has_side_effect=False
    ](u, s)
    return acc + llvm_intrinsic[
        "llvm.x86.avx2.pmadd.wd", SIMD[DType.int32, 8], has_side_effect=False
    ](pairs, SIMD[DType.int16, 16](1))


@always_inline
def sign_like(x: SIMD[DType.int8, 32], w: SIMD[DType.int8, 32]) -> SIMD[DType.int8, 32]:
    """The bytes x, negated where w is negative and zero where it is zero."""
    return llvm_intrinsic["llvm.x86.avx2.psign.b", SIMD[DType.int8, 32], has_side_effect=False](
        x, w
    )


@always_inline
def dot4[signed: Bool](acc: I16, codes: U64, four: Int32) -> I16:
    """Add to each lane the product of its four bytes of codes with the same four activations.

    With `signed` the codes are weights + 128, and the 128 is taken off here or, with VNNI, left
    to the caller (`carries_offset`).
    """
    comptime if HAS_VNNI:
        return llvm_intrinsic["llvm.x86.avx512.vpdpbusd.512", I16, has_side_effect=False](
            acc, codes, bitcast[DType.int8, 64](I16(four))
        )
    else:
        var x = bitcast[DType.int8, 32](SIMD[DType.int32, 8](four))
        var low = codes.slice[32, offset=0]()
        var high = codes.slice[32, offset=32]()
        var a = acc.slice[8, offset=0]()
        var b = acc.slice[8, offset=8]()
        comptime if signed:
            var lw = bitcast[DType.int8, 32](low ^ 128)
            var hw = bitcast[DType.int8, 32](high ^ 128)
            a = split_pair(a, bitcast[DType.uint8, 32](abs(lw)), sign_like(x, lw))
            b = split_pair(b, bitcast[DType.uint8, 32](abs(hw)), sign_like(x, hw))
        else:
            a = split_pair(a, low, x)
            b = split_pair(b, high, x)
        return a.join(b)


@always_inline
def carries_offset[signed: Bool]() -> Bool:
    """Whether `dot4` leaves the 128 of signed codes in its sums."""
    return HAS_VNNI or not signed
