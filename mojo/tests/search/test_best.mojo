"""The best k rows: keys order by score, then by row, and a heap keeps the greatest."""
from std.testing import TestSuite, assert_equal, assert_true
from best import clear, key_of, offer, row_of, score_of, sort_best_first, worst_score
from room import Draw, keys


def test_a_key_gives_back_score_and_row() raises:
    var draw = Draw(7)
    for _ in range(1000):
        var score = draw.number() * Float32(1000)
        var row = draw.below(2147483647)
        var key = key_of(score, row)
        assert_equal(score_of(key), score)
        assert_equal(row_of(key), row)
        assert_true(key != 0)


def test_keys_order_as_scores_then_rows() raises:
    assert_true(key_of(-2.0, 5) < key_of(-1.0, 5))
    assert_true(key_of(-1.0, 5) < key_of(0.0, 5))
    assert_true(key_of(0.0, 5) < key_of(1e-30, 5))
    assert_true(key_of(1.0, 4) > key_of(1.0, 5))
    assert_equal(key_of(-0.0, 3), key_of(0.0, 3))


def test_the_heap_keeps_what_a_full_sort_would() raises:
    comptime N = 300
    var draw = Draw(11)
    for k in [1, 2, 3, 10, 47, 300]:
        var all = keys(N)
        for row in range(N):  # few different scores: many ties
            all[unsafe_offset=row] = key_of(Float32(draw.below(20)) - 10, row)
        var heap = keys(k)
        clear(heap, k)
        for row in range(N):
            offer(heap, k, all[unsafe_offset=row])
        var worst = worst_score(heap)
        sort_best_first(heap, k)
        for place in range(k):
            var above = 0
            for row in range(N):
                above += Int(all[unsafe_offset=row] > heap[unsafe_offset=place])
            assert_equal(above, place)
        assert_equal(worst, score_of(heap[unsafe_offset=k - 1]))


def test_empty_places_come_last() raises:
    var heap = keys(4)
    clear(heap, 4)
    assert_equal(worst_score(heap), Float32.MIN)
    offer(heap, 4, key_of(1.0, 1))
    offer(heap, 4, key_of(2.0, 2))
    sort_best_first(heap, 4)
    assert_equal(row_of(heap[unsafe_offset=0]), 2)
    assert_equal(row_of(heap[unsafe_offset=1]), 1)
    assert_equal(heap[unsafe_offset=2], 0)
    assert_equal(heap[unsafe_offset=3], 0)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
