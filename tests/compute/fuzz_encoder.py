"""Random shapes against the encoder's kernels, with nothing but the standard library.

Run by `test_memory_safety.py`, also under valgrind: every buffer is exactly as long as it must
be, so one byte too far is seen. Arguments: the library, a seed, how many rounds.
"""

from __future__ import annotations

import array
import ctypes
import importlib.machinery
import importlib.util
import random
import sys


def kernels(path: str):  # type: ignore[no-untyped-def]
    loader = importlib.machinery.ExtensionFileLoader("native_encoder", path)
    spec = importlib.util.spec_from_loader("native_encoder", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def on_a_line(size: int) -> memoryview:
    """``size`` bytes that begin on a cache line and end with their allocation."""
    libc = ctypes.CDLL(None)
    libc.aligned_alloc.restype = ctypes.c_void_p
    libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    at = libc.aligned_alloc(64, size)
    return memoryview((ctypes.c_char * size).from_address(at)).cast("B")


def free(view: memoryview) -> None:
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    at = ctypes.addressof(ctypes.c_char.from_buffer(view))
    view.release()
    libc.free(at)


def linear(inputs: int, outputs: int) -> int:
    return 4 * inputs + 12 * outputs + inputs * outputs


def encoder_round(native, rng: random.Random) -> None:  # type: ignore[no-untyped-def]
    width, heads = rng.choice([(64, 2), (64, 1), (128, 2), (192, 3), (192, 6)])
    feed, layers = rng.choice([64, 128, 320]), rng.choice([1, 2])
    positions, vocabulary = rng.choice([1, 3, 17, 70, 200]), rng.choice([1, 5, 33])
    kind = rng.randint(0, 1)
    layer = linear(width, 3 * width) + linear(width, width) + 16 * width
    layer += linear(width, feed) + linear(feed, width)
    size = 64 + 4 * (positions + 2) * width + layers * layer
    image = on_a_line(size)
    floats = array.array("f", (rng.uniform(-1, 1) for _ in range(997)))
    image[:] = (floats.tobytes() * (size // (4 * 997) + 1))[:size]
    words = bytearray(rng.randbytes(vocabulary * (width // 32 * 18 if kind == 0 else 4 * width)))
    shape = [kind, layers, width, heads, feed, positions, vocabulary]
    model = native.bind_model(image, words, *shape)
    for _ in range(3):
        texts = rng.randint(1, 5)
        lengths = [rng.randint(1, positions) for _ in range(texts)]
        starts = array.array("i", [0])
        for length in lengths:
            starts.append(starts[-1] + length)
        n = starts[-1]
        ids = array.array("i", (rng.randrange(vocabulary) for _ in range(n)))
        scratch = bytearray(native.room(model, n, max(lengths)))
        means = bytearray(4 * texts * width)
        tops = bytearray(8 * layers * width if rng.random() < 0.5 else 0)
        arguments = [model, ids, starts, scratch, means, tops]
        assert native.encode(*arguments) == texts
        place = rng.randint(1, 5)
        wrong = array.array("i", ids)
        wrong[rng.randrange(n)] = rng.choice([-1, vocabulary, 2**31 - 1])
        starts_wrong = array.array("i", starts)
        starts_wrong[rng.randrange(texts + 1)] = rng.choice([-1, n + 1, 2**31 - 1, -(2**31)])
        lies = [wrong, starts_wrong, scratch[:-1], means[:-1], bytearray(4)]
        arguments[place] = lies[place - 1]
        try:
            native.encode(*arguments)
        except ValueError:
            continue
        raise AssertionError(place)
    del model, arguments
    for lie in range(7):
        false = list(shape)
        false[lie] = rng.choice([-1, 0, 2**40, false[lie] * 2 + 64])
        try:
            native.bind_model(image, words, *false)
        except ValueError:
            continue
        assert lie == 0 or (lie == 3 and false[3] in (1, 2, 3, 6)), (lie, shape, false)
    free(image)


def pieces_round(native, rng: random.Random) -> None:  # type: ignore[no-untyped-def]
    """A vocabulary of random bytes behind honest sizes: any text must be survived."""
    pieces, slots = rng.choice([1, 2, 40]), rng.choice([64, 128])
    raw = [rng.randbytes(rng.randint(0, 4)) for _ in range(pieces)]
    mapped = rng.choice([0, 1, 5])

    def up(data: bytes) -> bytes:
        return data + bytes(-len(data) % 64)

    def numbers(values: list[int]) -> bytes:
        return up(array.array("I", values).tobytes())

    offsets = [0]
    for piece in raw:
        offsets.append(offsets[-1] + len(piece))
    replaced = [rng.randint(0, 3) for _ in range(mapped)]
    ends = [0]
    for n in replaced:
        ends.append(ends[-1] + n)
    table = [0] * (2 * slots)
    for i in range(pieces):
        table[2 * rng.randrange(slots)] = rng.randrange(2**32)
        table[2 * rng.randrange(slots) + 1] = i + 1
    image = up(array.array("d", [-9.0]).tobytes()) + numbers(offsets)
    image += up(array.array("f", (rng.uniform(-9, 0) for _ in range(pieces))).tobytes())
    image += numbers(sorted(rng.sample(range(0x110000), mapped))) + numbers(ends)
    image += numbers([rng.randrange(2**32) for _ in range(ends[-1])]) + numbers(table)
    image += b"".join(raw)
    view = on_a_line(len(image))
    view[:] = image
    sizes = [pieces, mapped, ends[-1], slots, offsets[-1], 0, rng.choice([1, 4, 16])]
    vocabulary = native.bind_pieces(view, *sizes)
    for _ in range(20):
        text = rng.randbytes(rng.randint(0, 30)) if rng.random() < 0.5 else b"  a b " * 4
        ids = bytearray(4 * rng.choice([0, 1, 5, 40, 130]))
        found = native.tokens(vocabulary, text, ids)
        if found < 0:
            ids = bytearray(4 * -found)
            found = native.tokens(vocabulary, text, ids)
        assert 1 <= found <= len(ids) // 4
        assert all(0 <= i < pieces for i in array.array("i", bytes(ids[: 4 * found])))
    del vocabulary
    for lie in range(7):
        false = list(sizes)
        false[lie] = rng.choice([-1, 2**40, 2**27])
        try:
            native.bind_pieces(view, *false)
        except ValueError:
            continue
        raise AssertionError(lie)
    free(view)


def main() -> None:
    native = kernels(sys.argv[1])
    rng = random.Random(int(sys.argv[2]))
    for _ in range(int(sys.argv[3])):
        encoder_round(native, rng)
        pieces_round(native, rng)
    print("done")


if __name__ == "__main__":
    main()
