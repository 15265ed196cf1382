"""Names of splits: every spelling of the field means one of three, anything else is named."""

import pytest

from stepcli.cache.schema.split_names import normalise_split, split_notes, unused_splits


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *[(text, "train") for text in ("train", "Train", " TRAIN ", "training", "tr", "Tr\t")],
        *[(text, "val") for text in ("val", "valid", "Validation", "dev", "EVAL", "\u00a0val")],
        *[(text, "test") for text in ("test", "Testing", "test\r", "TEST")],
        *[("", ""), ("  ", ""), (" Extra ", "Extra"), ("train2", "train2"), ("tests", "tests")],
    ],
)
def test_every_spelling_means_one_split(text: str, name: str) -> None:
    assert normalise_split(text) == name
    assert normalise_split(name) == name


def test_what_was_normalised_is_noted_with_counts() -> None:
    notes = split_notes(["train ", "train ", "Test", "test", ""])
    assert notes == [
        "split names normalised: 'Test' as 'test' (1 clip), 'train ' as 'train' (2 clips)"
    ]
    assert split_notes(["train", "val", "test", "", " "]) == []


def test_splits_that_nobody_uses_are_named() -> None:
    assert unused_splits(["train", "holdout", "holdout", "Extra ", "", "DEV"]) == (
        "3 clips in splits that are not trained or tested on: 'Extra' (1 clip), 'holdout' (2 clips)"
    )
    assert unused_splits(["Fold1", "fold2"], ["Fold1", " fold2"]) is None
    assert unused_splits(["Fold1"], ["fold1"]) is not None


def test_a_column_of_ids_taken_for_splits_stays_one_line() -> None:
    note = unused_splits([f"clip{i}" for i in range(1000)])
    assert note is not None
    assert note.endswith("and 994 more")
    assert len(note) < 300
