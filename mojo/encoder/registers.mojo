"""What every part of the encoder shares: vectors of 16 lanes in every variant (with AVX2 the compiler
makes two registers of each).
"""
from machine import Bytes, Floats, HAS_VBMI, HAS_VNNI, Ints, SignedBytes, Words, round_up

comptime LANES = 16
comptime F = SIMD[DType.float32, LANES]
comptime I = SIMD[DType.int32, LANES]
comptime LINE = 64  # bytes; every array of an image and of the working memory begins on one
