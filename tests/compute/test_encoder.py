"""The compiled encoder against NumPy in float32: every variant, shape and length."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from encoder_parts import RandomWeights, cosines, mojo, random_texts

from aiki_kernel.compute.encoder import Shape
from aiki_kernel.compute.encoder_mojo import GROUP, kernels
from aiki_kernel.compute.encoder_numpy import NumpyEncoder, gelu
from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.native import load_best, runnable

VARIANTS = runnable("encoder")
SMALL = Shape(2, 64, 2, 128, 512, 50, 1e-12)
WIDE = Shape(1, 192, 3, 320, 40, 7, 1e-5)  # heads of 64, sizes that are no power of two

pytestmark = pytest.mark.skipif(not VARIANTS, reason="built without compiled kernels")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["F32", "Q4_0"])
def test_every_length_up_to_the_last_position(variant: str, kind: str) -> None:
    weights = RandomWeights(SMALL, kind=kind)
    lengths = [*range(1, 70), 127, 128, 129, 255, 256, 257, 511, 512]
    texts = random_texts(SMALL, lengths)
    found = cosines(mojo(weights, variant).means(texts), NumpyEncoder(weights).means(texts))
    assert found.min() > 0.9985
    assert np.median(found) > 0.9995


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 31, 64, 65])
def test_batches(variant: str, count: int) -> None:
    weights = RandomWeights(WIDE, seed=count)
    lengths = [1 + (7 * i) % WIDE.positions for i in range(count)]
    texts = random_texts(WIDE, lengths, count)
    found = cosines(mojo(weights, variant).means(texts), NumpyEncoder(weights).means(texts))
    assert found.min() > 0.9985


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_text_does_not_depend_on_its_neighbours_or_on_threads(variant: str) -> None:
    weights = RandomWeights(SMALL)
    texts = random_texts(SMALL, [3, 60, 61, 5, 512, 1, 200, 17, GROUP, GROUP + 1, 2])
    one, two = mojo(weights, variant), mojo(weights, variant, threads=2)
    together = one.means(texts)
    assert np.array_equal(together, np.concatenate([one.means([ids]) for ids in texts]))
    assert np.array_equal(together, two.means(texts))
    assert one.means([]).shape == (0, SMALL.width)


def test_variants_agree_to_the_last_digits() -> None:
    weights = RandomWeights(WIDE)
    texts = random_texts(WIDE, [1, 2, 3, 17, 40])
    first, *others = [mojo(weights, variant).means(texts) for variant in VARIANTS]
    for other in others:
        assert np.abs(first - other).max() < 2e-3
        assert cosines(first, other).min() > 0.99999


def test_balancing_columns_helps_where_some_are_large() -> None:
    from aiki_kernel.compute.encoder_image import image_of
    from aiki_kernel.compute.encoder_mojo import MojoEncoder
    from aiki_kernel.compute.encoder_store import aligned

    class Uneven(RandomWeights):
        def _norm(self, name: str):  # type: ignore[no-untyped-def]
            norm = super()._norm(name)
            norm.weight[5] *= 60
            return norm

    weights = Uneven(SMALL)
    texts = random_texts(SMALL, [5, 30, 80])
    plain = mojo(weights, VARIANTS[0])
    tops = plain.tops(texts)
    assert tops.shape == (2, 2, 64)
    assert (tops.argmax(axis=2) == 5).all()
    balanced = MojoEncoder(SMALL, weights.words, aligned(image_of(weights, tops)))
    truth = NumpyEncoder(weights).means(texts)
    assert cosines(balanced.means(texts), truth).min() > cosines(plain.means(texts), truth).min()


def test_many_threads_share_one_encoder() -> None:
    weights = RandomWeights(SMALL)
    encoder = mojo(weights, VARIANTS[0], threads=2)
    texts = random_texts(SMALL, [9, 40, 300, 7, 500, 12])
    truth = encoder.means(texts)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            some = texts[number % 3 :]
            if not np.array_equal(encoder.means(some), truth[number % 3 :]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("bad", [[-1], [50], [2**31 - 1], [0] * 513])
def test_ids_and_lengths_out_of_range_are_refused(bad: list[int]) -> None:
    encoder = mojo(RandomWeights(SMALL), VARIANTS[0])
    with pytest.raises(ValueError, match="out of range"):
        encoder.means([np.array(bad, np.int32)])


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 96, 3, 128, 8, 5, 1e-5),
        Shape(1, 64, 4, 128, 8, 5, 1e-5),
        Shape(1, 64, 2, 100, 8, 5, 1e-5),
        Shape(0, 64, 2, 128, 8, 5, 1e-5),
    ],
)
def test_a_shape_that_the_kernels_cannot_do_is_one_line(shape: Shape) -> None:
    from aiki_kernel.compute.encoder import Words
    from aiki_kernel.compute.encoder_mojo import MojoEncoder
    from aiki_kernel.compute.encoder_store import aligned

    image = aligned(bytearray(1 << 20))
    with pytest.raises(BackendError, match="cannot run this encoder"):
        MojoEncoder(shape, Words("F32", memoryview(bytes(1 << 16)), shape.width), image)


def test_the_variant_says_what_it_is() -> None:
    numbers = {"avx2": 0, "avx512vnni": 1, "avx512vbmi": 2}
    for variant in VARIANTS:
        library, name = kernels(variant)
        assert (library.variant(), name) == (numbers[variant], variant)
    assert load_best("encoder").variant == VARIANTS[0]
    with pytest.raises(BackendError, match="No Mojo encoder"):
        kernels("avx1024")


def test_gelu_is_exact_enough() -> None:
    from math import erf

    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    truth = np.array([v * 0.5 * (1 + erf(v / 2**0.5)) for v in x.tolist()])
    assert np.abs(gelu(x) - truth).max() < 2e-6
