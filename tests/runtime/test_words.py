"""Counts and sizes in messages."""

import pytest

from stepcli.runtime.words import are, counted, sized


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 clips are"),
        (1, "1 clip is"),
        (2, "2 clips are"),
        (220_847, "220,847 clips are"),
    ],
)
def test_a_count_has_its_noun_and_verb(count: int, told: str) -> None:
    assert f"{counted(count, 'clip')} {are(count)}" == told


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (2_400, "2.4 kB"),
        (120_000, "0.1 MB"),
        (6_291_456, "6.3 MB"),
        (512e6, "512.0 MB"),
        (1.25e9, "1.2 GB"),
        (1394.9e9, "1.4 TB"),
    ],
)
def test_a_size_is_in_the_unit_that_suits_it(size: float, told: str) -> None:
    assert sized(size) == told
