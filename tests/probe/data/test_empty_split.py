"""A split without clips: the message says what to do in each case."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call

from stepcli.cache.schema.split_names import meant_split
from stepcli.cache.store.store import Store


def split_as(store: Store, **names: str) -> Store:
    """The store with its splits renamed."""
    store.change_clips(lambda rows: [replace(row, split=names[row.split]) for row in rows])
    return store


@pytest.mark.parametrize(
    ("splits", "words", "told"),
    [
        (("", ""), (), "labels --test-share 0.25 --store {store}"),
        (("train", "tset"), (), "'tset' looks like 'test': correct the table"),
        (("trian", "test"), (), "'trian' looks like 'train': correct the table"),
        (("train", "val"), (), "test on it with --test-split val"),
        (("train", "test"), ("--test-split", "tst"), "did you mean 'test'? (--train-split"),
        (("train", "fold1"), ("--test-split", "fold2"), "did you mean 'fold1'?"),
        (("train", "train"), (), "the store holds: train 12; extract the test clips too"),
        (("train", "other"), (), "the store holds: other 4, train 8; extract more, choose"),
    ],
)
def test_a_split_without_clips_says_what_to_do(
    splits: tuple[str, str],
    words: tuple[str, ...],
    told: str,
    store_of: Callable[..., Store],
    tmp_path: Path,
) -> None:
    store = split_as(store_of(tmp_path / "s"), train=splits[0], test=splits[1])
    probe = ("probe", "--method", "linear", "--store", store.path, "--runs", tmp_path / "runs")
    said = call(*probe, *words, code=2)
    assert told.format(store=store.path) in said
    assert len(said.strip().splitlines()) == 1


def test_the_advice_for_a_store_without_splits_works(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = split_as(store_of(tmp_path / "s"), train="", test="")
    probe = ("probe", "--method", "linear", "--epochs", 1, "--store", store.path)
    said = call(*probe, "--runs", tmp_path / "runs", code=2)
    words = said.strip().partition("stepcli ")[2].split()
    call(*words)
    assert "top-1" in call(*probe, "--runs", tmp_path / "runs")


def test_a_split_file_is_named_where_its_splits_are_wrong(
    store_of: Callable[..., Store], tmp_path: Path
) -> None:
    store = store_of(tmp_path / "s")
    file = tmp_path / "split.csv"
    rows = [f"{row.id},{row.split.replace('test', 'tset')}" for row in store.clips()]
    file.write_text("\n".join(["clip,split", *rows]))
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--split-file", file)
    said = call("probe", "--method", "linear", *words, code=2)
    assert f"'tset' looks like 'test': correct {file}" in said


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("tset", "test"), ("trian", "train"), ("validaton", "val"), ("TRIAN", "train")),
        *(("train", ""), ("Testing", ""), ("train1", ""), ("holdout", ""), ("t", ""), ("", "")),
    ],
)
def test_misspelt_names_of_splits(name: str, meant: str) -> None:
    assert meant_split(name) == meant
