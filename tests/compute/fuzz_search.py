"""Random shapes against the kernels, with nothing but the standard library.

Run by `test_memory_safety.py` under valgrind: every buffer is exactly as long as it must be,
so one byte too far is seen. Arguments: the library, a seed, how many rounds.
"""

from __future__ import annotations

import array
import importlib.machinery
import importlib.util
import random
import sys


def kernels(path: str):  # type: ignore[no-untyped-def]
    loader = importlib.machinery.ExtensionFileLoader("native_search", path)
    spec = importlib.util.spec_from_loader("native_search", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def up(n: int, step: int) -> int:
    return (n + step - 1) // step * step


def packed(told: list[int]) -> bytes:
    return array.array("q", told).tobytes()


def main() -> None:
    native = kernels(sys.argv[1])
    rng = random.Random(int(sys.argv[2]))
    for _ in range(int(sys.argv[3])):
        dim = rng.choice([1, 2, 7, 8, 23, 24, 25, 31, 32, 33, 63, 64, 65, 100, 384, 385])
        n = rng.choice([0, 1, 3, 4, 5, 63, 64, 65, 127, 129, 500])
        capacity = max(1, n + rng.choice([0, 0, 1, 64]))
        spread = rng.choice([0, 1, 5])
        rows = array.array("f", (rng.randint(-spread, spread) for _ in range(capacity * dim)))
        codes8 = bytearray(capacity * up(dim, 64))
        scales = bytearray(capacity * 4)
        codes1 = bytearray(up(capacity, 64) * up((dim + 7) // 8, 3))
        if capacity:
            first = rng.randint(0, capacity)
            native.encode(rows, codes8, scales, codes1, capacity, dim, 0, first)
            native.encode(rows, codes8, scales, codes1, capacity, dim, first, capacity)
        index = native.bind(rows, codes8, scales, codes1, capacity, dim)
        lists, blocks = rng.choice([1, 2, 7]), rng.choice([0, 1, 5, 9, 300])
        # chains that end nowhere, that bite their tails, that lead out of the blocks
        edge = [-1, 0, blocks - 1, blocks, -(2**31), 2**31 - 1]
        heads = array.array("i", (rng.choice([*edge, *range(blocks)]) for _ in range(lists)))
        links = array.array("i", (rng.choice([*edge, *range(blocks)]) for _ in range(blocks)))
        some = [0, n, max(0, n - 1), capacity, 2**32 - 1]
        ids = array.array("I", (rng.choice(some) for _ in range(blocks * 64)))
        codes = rng.randbytes(blocks * 64 * up((dim + 7) // 8, 3))
        coarse = native.bind_lists(heads, links, ids, codes, dim)
        for short in ((heads, links, ids[:-1], codes), (heads, links, ids, codes[:-1])):
            if blocks:
                try:
                    native.bind_lists(*short, dim)
                except ValueError:
                    continue
                raise AssertionError(blocks)
        for _ in range(4):
            count = rng.randint(1, 3)
            k = rng.randint(1, 40)
            few = k + rng.randint(0, 5)
            depth = few + rng.randint(0, 200)
            queries = array.array("f", (rng.uniform(-1, 1) for _ in range(count * dim)))
            if rng.random() < 0.1:
                queries[0] = float("nan")
            bitmap = rng.randbytes((n + 7) // 8) if rng.random() < 0.5 else b""
            scores, found = bytearray(count * k * 4), bytearray(count * k * 8)
            method = rng.randint(0, 3)
            probes = rng.randint(0, lists) if method == 3 else 0
            wild = [-1, -(2**63), 2**63 - 1, lists, *range(lists)]
            chosen = array.array("q", (rng.choice(wild) for _ in range(count * probes)))
            told = [method, n, k, depth, few, rng.randint(0, 1), rng.randint(0, 1), probes]
            more = [coarse, chosen] if method == 3 else []
            arguments = [index, packed(told), queries, bitmap, scores, found, *more]
            got = native.search(*arguments)
            assert -1 <= got <= k
            lies = [
                (1, packed([method, capacity + 1, *told[2:]])),
                (1, packed([method, n, k + few + 1, *told[3:]])),
                (1, packed([method, n, k, depth, 0, *told[5:]])),
                (1, packed([9, *told[1:]])),
                (1, packed([-1, *told[1:]])),
                (1, packed([*told[:7], lists + 1]) if method == 3 else packed(told)[:-1]),
                (1, packed([method, n, k, 15001, *told[4:]]) if method > 1 else b""),
                (2, memoryview(queries).cast("B")[:-1]),
                (4, scores[:-1]),
                (5, found[:-1]),
            ]
            if n > 8:
                lies.append((3, bytes((n + 7) // 8 - 1)))
            if probes:
                lies.append((7, chosen[:-1]))
            place, lie = rng.choice(lies)
            arguments[place] = lie
            try:
                native.search(*arguments)
            except ValueError:
                continue
            raise AssertionError((place, told))
    print("done")


if __name__ == "__main__":
    main()
