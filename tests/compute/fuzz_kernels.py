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
            arguments = [index, rng.randint(0, 2), queries, n, k, depth, few, bitmap]
            arguments += [rng.randint(0, 1), rng.randint(0, 1), scores, found]
            got = native.search(*arguments)
            assert -1 <= got <= k
            place = rng.choice([3, 4, 5, 6, 10, 11, 7, 2])
            lie = {
                3: capacity + 1,
                4: k + few + 1,
                5: 15001 if arguments[1] == 2 else 1,
                6: 0,
                10: scores[:-1],
                11: found[:-1],
                7: bytes(max(0, (n + 7) // 8 - 1)) if n > 8 else bitmap,
                2: memoryview(queries).cast("B")[:-1],
            }[place]
            arguments[place] = lie
            try:
                native.search(*arguments)
            except ValueError:
                continue
            assert place in (5, 7), place
    print("done")


if __name__ == "__main__":
    main()
