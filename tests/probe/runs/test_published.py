"""Numbers from papers: read, kept apart by protocol, shipped with where they are from."""

from pathlib import Path

import pytest
from command_line import call

from stepcli.cache.store.store import Store
from stepcli.extract.datasets.registry import DATASETS
from stepcli.probe.runs.published import (
    CERTAINTY,
    by_protocol,
    read_published,
    rows_of,
    shipped,
    shipped_files,
)
from stepcli.probe.runs.table import published_tables
from stepcli.runtime.errors import UsageError

HEAD = "method,value,params,source,dataset,split,training,measure,frames,views\n"


def written(path: Path, *lines: str) -> Path:
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("name", shipped_files())
def test_every_shipped_number_says_where_it_is_from_and_how_sure_we_are(name: str) -> None:
    assert name in DATASETS
    found = shipped([name])
    assert found
    for each in found:
        assert each.dataset == name
        assert each.certainty in CERTAINTY
        assert "arXiv" in each.source or "ICCV" in each.source
        assert each.backbone
    for rows in by_protocol(found).values():
        assert len({(row.method, row.backbone) for row in rows}) == len(rows)


def test_nothing_is_shipped_for_a_data_set_without_a_file() -> None:
    assert shipped(["openclose", "nobody's"]) == []
    assert {each.dataset for each in shipped(["ssv2", "hri30", "openclose"])} == {"ssv2", "hri30"}


def test_numbers_of_different_protocols_are_never_in_one_column(tmp_path: Path) -> None:
    found = read_published(
        written(
            tmp_path / "p.csv",
            "a,50,,x,ssv2,val,,,16,1",
            "b,60,7,x,ssv2,val,all of train,top-1,16,1",
            "c,51,,x,ssv2,test,all of train,top-1,16,1",
            "d,52,,x,ssv2,val,all of train,top-1,8,1",
            "e,53,,x,ssv2,val,all of train,top-1,16,30",
            "f,54,,x,ssv2,val,zero-shot,top-1,16,1",
            "g,55,,x,ssv2,val,all of train,mean class accuracy,16,1",
            "h,56,,x,ucf101,val,all of train,top-1,16,1",
            "i,57,,x,ssv2,val,all of train,top-1,16,1",
        )
    )
    assert [[row.method for row in rows] for rows in by_protocol(found).values()] == [
        *(["a"], ["b", "i"], ["c"], ["d"], ["e"], ["f"], ["g"], ["h"]),
    ]
    header, rows = rows_of(
        by_protocol(found)["ssv2, all of train, split val, frames 16, views 1: top-1"]
    )
    assert header[:2] == ["published method", "top-1"]
    assert [row[:4] for row in rows] == [["b", "60.0", "-", "7"], ["i", "57.0", "-", "-"]]
    tables = published_tables(found, "markdown")
    assert len(tables) == 8
    assert "mean class accuracy" in tables[6].splitlines()[2]
    # Beside one's own top-1 only what is a top-1 of probes that saw all of train.
    assert [p.method for p in found if p.is_beside("classify")] == [*"abcdehi"]
    assert not [p for p in found if p.is_beside("arrow")]


def test_two_protocols_of_hmdb51_stay_apart() -> None:
    tables = by_protocol(shipped(["hmdb51"]))
    assert [sorted(row.value for row in rows) for rows in tables.values()] == [[47.3], [53.0]]


@pytest.mark.parametrize("line", ["a,x,,s", "a,101,,s", "a,5,-1,s", "a,5,many,s", "a,5,,"])
def test_what_is_no_number_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 2"):
        read_published(written(tmp_path / "p.csv", f"{line},ssv2,,,,,"))


def test_results_show_the_numbers_of_the_runs_data_sets(store: Store, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    every = call("results", "--published", "--runs", runs)
    assert "ssv2, all of train: top-1" in every
    assert "hmdb51, 2 clips per class, split 1, frames 32, views 1: top-1" in every
    words = ("--store", store.path, "--runs", runs)
    call("probe", "--method", "linear", "--epochs", 1, *words)
    plain = call("results", "--runs", runs)
    assert call("results", "--published", "--runs", runs) == plain  # made up: nothing is shipped
    for file in runs.glob("*/run.json"):
        file.write_text(file.read_text().replace('"dataset": "made-up"', '"dataset": "ssv2"'))
    shown = call("results", "--published", "--runs", runs)
    assert shown.startswith(call("results", "--runs", runs).rstrip("\n"))
    assert "GatedMambaMix" in shown
    assert "hmdb51" not in shown
    assert "GatedMambaMix" not in shown.splitlines()[1]
