"""1-bit codes: where the bits lie, and that the table scan adds up the query's components over the
signs that are set, each look-up rounded to a whole number.
"""
from std.testing import TestSuite, assert_equal, assert_true
from codes1 import (
    TABLES,
    TOP,
    build_tables,
    encode1,
    row_of_position,
    scan1,
    sign_bytes,
    table_bytes,
    widest_group,
)
from lanes import BLOCK_ROWS, Shorts
from room import Draw, address, bytes_of, floats


def test_a_sign_has_its_place() raises:
    comptime DIM = 50
    comptime N = 70
    var draw = Draw(17)
    var rows = floats(N * DIM)
    draw.fill(rows, N * DIM)
    var groups = sign_bytes(DIM)
    assert_equal(groups % 3, 0)
    var codes = bytes_of(2 * BLOCK_ROWS * groups)
    encode1(rows, 0, N, DIM, codes)
    for row in range(N):
        for j in range(groups * 8):
            var at = (row // BLOCK_ROWS * groups + j // 8) * BLOCK_ROWS + row % BLOCK_ROWS
            var bit = (codes[unsafe_offset=at] >> UInt8(j % 8)) & 1
            var set = j < DIM and rows[unsafe_offset=row * DIM + j] > 0
            assert_equal(bit == 1, set)


def test_every_row_has_one_position() raises:
    for block in range(2):
        var seen = 0
        for position in range(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS):
            var row = row_of_position(position)
            assert_equal(row // BLOCK_ROWS, block)
            seen |= 1 << (row % BLOCK_ROWS)
        assert_equal(seen, -1)


def test_an_estimate_is_the_scaled_sum_over_set_signs() raises:
    comptime N = 128
    var draw = Draw(19)
    for dim in [24, 100, 384, 768]:
        var rows = floats(N * dim)
        draw.fill(rows, N * dim)
        var groups = sign_bytes(dim)
        var query = floats(groups * 8)
        draw.fill(query, dim)
        var codes = bytes_of(N * groups)
        encode1(rows, 0, N, dim, codes)
        var tables = bytes_of(table_bytes(dim))
        build_tables(query, dim, tables)
        var sums = Shorts(unsafe_from_address=address(N * 2))
        scan1(codes, dim, N // BLOCK_ROWS, tables, sums)
        var scale = (TOP - Float32(0.01)) / widest_group(query, groups // 3)
        var lookups = Float32(groups // 3 * TABLES)
        for position in range(N):
            var row = rows.unsafe_offset(row_of_position(position) * dim)
            var sum = Float32(0)  # above the least there can be
            for j in range(dim):
                var q = query[unsafe_offset=j]
                sum += max(q, 0) if row[unsafe_offset=j] > 0 else max(-q, 0)
            var estimate = Float32(Int(sums[unsafe_offset=position]))
            assert_true(abs(estimate - sum * scale) <= lookups * 0.5 + 0.5)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
