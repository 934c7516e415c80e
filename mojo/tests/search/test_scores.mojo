"""Scores: float32 and float64 products, and the integer sums of 8-bit codes, each against a plain
loop, at dimensions that fill registers and at those that do not.
"""
from std.testing import TestSuite, assert_almost_equal, assert_equal, assert_true
from best import row_of, sort_best_first
from codes8 import PAD, encode8, encode_query8, sums8
from dot import dot_double, dot_rows, scan_exact
from lanes import Bytes, Floats, SignedBytes, round_up
from room import Draw, address, bytes_of, doubles, floats, keys


def plain_dot(a: Floats, b: Floats, dim: Int) -> Float64:
    var sum = Float64(0)
    for j in range(dim):
        sum += Float64(a[unsafe_offset=j]) * Float64(b[unsafe_offset=j])
    return sum


def test_products_are_those_of_a_plain_loop() raises:
    var draw = Draw(3)
    for dim in [1, 2, 7, 8, 31, 32, 33, 64, 383, 384, 385, 1024]:
        var rows = floats(4 * dim)
        var query = floats(dim)
        var wide = doubles(dim)
        draw.fill(rows, 4 * dim)
        draw.fill(query, dim)
        for j in range(dim):
            wide[unsafe_offset=j] = Float64(query[unsafe_offset=j])
        var four = dot_rows[4](rows, query, dim)
        for r in range(4):
            var row = rows.unsafe_offset(r * dim)
            var right = plain_dot(row, query, dim)
            assert_almost_equal(Float64(four[r]), right, atol=1e-4)
            assert_almost_equal(dot_double(row, wide, dim), right, atol=1e-10)
            assert_equal(dot_rows[1](row, query, dim)[0], four[r])


def test_the_scan_finds_the_best_allowed_rows() raises:
    comptime N = 203
    comptime DIM = 24
    comptime K = 9
    var draw = Draw(5)
    var rows = floats(N * DIM)
    var query = floats(DIM)
    draw.fill(rows, N * DIM)
    draw.fill(query, DIM)
    var bitmap = bytes_of(N // 8 + 1)
    for row in range(0, N, 3):
        bitmap[unsafe_offset=row >> 3] |= UInt8(1) << UInt8(row & 7)
    var heap = keys(K)
    scan_exact(rows, query, N, DIM, bitmap, True, heap, K)
    sort_best_first(heap, K)
    var before = Float64.MAX
    for place in range(K):
        var row = row_of(heap[unsafe_offset=place])
        assert_equal(row % 3, 0)
        var score = plain_dot(rows.unsafe_offset(row * DIM), query, DIM)
        assert_true(score <= before + 1e-6)
        before = score
    var better = 0
    for row in range(0, N, 3):
        better += Int(plain_dot(rows.unsafe_offset(row * DIM), query, DIM) > before + 1e-6)
    assert_equal(better, K - 1)


def test_integer_sums_are_exact() raises:
    var draw = Draw(9)
    for dim in [1, 17, 63, 64, 65, 128, 384, 400]:
        var stride = round_up(dim, PAD)
        var rows = floats(4 * dim)
        var query = floats(dim)
        draw.fill(rows, 4 * dim)
        draw.fill(query, dim)
        rows[unsafe_offset=0] = 1.5  # the largest of its row: 127 + 128
        var codes = bytes_of(4 * stride)
        var scales = floats(4)
        encode8(rows, 0, 4, dim, codes, scales)
        assert_equal(codes[unsafe_offset=0], 255)
        var asked = SignedBytes(unsafe_from_address=address(stride))
        var offset = encode_query8(query, dim, asked)
        var four = sums8[4](codes, asked, stride)
        for r in range(4):
            var sum = 0
            for j in range(dim):
                sum += (Int(codes[unsafe_offset=r * stride + j]) - 128) * Int(
                    asked[unsafe_offset=j]
                )
            assert_equal(Int(four[r] - offset), sum)


def test_codes_are_within_half_a_step() raises:
    comptime DIM = 100
    var draw = Draw(13)
    var row = floats(DIM)
    draw.fill(row, DIM)
    var codes = bytes_of(128)
    var scale = floats(1)
    encode8(row, 0, 1, DIM, codes, scale)
    for j in range(DIM):
        var back = Float32(Int(codes[unsafe_offset=j]) - 128) * scale[unsafe_offset=0]
        assert_true(abs(back - row[unsafe_offset=j]) <= scale[unsafe_offset=0] * 0.5001)
    for j in range(DIM, 128):
        assert_equal(codes[unsafe_offset=j], 128)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
