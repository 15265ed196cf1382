"""What is given away comes back the same, whole, and without anybody's code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from hub_server import Hub
from small_store import make_store

from stepcli.apply.prediction.api import train
from stepcli.apply.sharing.contents import pull_from_folder, push_to_folder
from stepcli.apply.sharing.hub import HubError, pull, push
from stepcli.cache.storage.places import place_of
from stepcli.cache.store.store import Store, open_store
from stepcli.cache.tables.texts import read_text, write_text
from stepcli.runtime.errors import DamagedStore, SpecMismatch, UsageError

# The hub's client sends a large file in a way that its own HTTP library discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("sharing") / "door")


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained probe's folder."""
    runs = tmp_path_factory.mktemp("runs")
    (record,) = train(store.path, "step", runs=runs, shared={"epochs": 1}, device="cpu", heads=1)
    (runs / record.run / "calibration.json").write_text(
        json.dumps({"temperature": 2.0, "samples": 9, "thresholds": {"0.05": None}})
    )
    return runs / record.run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_probe_goes_to_a_folder_and_back(run: Path, tmp_path: Path) -> None:
    call("push", run, "--to", tmp_path / "shelf")
    call("pull", tmp_path / "shelf" / run.name, "--out", tmp_path / "here")
    kept = contents(tmp_path / "here" / run.name)
    assert kept.keys() == {"run.json", "probe.safetensors", "calibration.json", "README.md"}
    assert kept["probe.safetensors"] == (run / "probe.safetensors").read_bytes()
    assert "is there already" in call(
        "pull", tmp_path / "shelf" / run.name, "--out", tmp_path / "here", code=2
    )
    assert [path.name for path in (tmp_path / "here").iterdir()] == [run.name]


def test_a_store_goes_to_a_folder_and_back(store: Store, tmp_path: Path) -> None:
    call("push", store.path, "--to", tmp_path / "shelf")
    call("pull", tmp_path / "shelf" / "door", "--out", tmp_path / "here")
    assert open_store(tmp_path / "here" / "door").fingerprint == store.fingerprint
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["door"]
    assert "stepcli store merge" in call("push", store.path, "--to", tmp_path / "shelf", code=2)


def test_a_probe_goes_to_the_hub_and_back(hub: Hub, run: Path, tmp_path: Path) -> None:
    said = call("push", run, "--to", "me/door", "--hub", "--endpoint", hub.endpoint)
    assert said.splitlines()[-1] == "stepcli pull me/door --hub"
    repository = hub.repositories["me/door"]
    assert repository.private
    assert repository.files.keys() == {
        *("run.json", "probe.safetensors", "calibration.json", "README.md")
    }
    assert run.name.encode() in repository.files["README.md"]
    call("pull", "me/door", "--hub", "--out", tmp_path, "--endpoint", hub.endpoint)
    kept = contents(tmp_path / run.name)
    assert kept == repository.files
    # What the probe has no more is taken away: an old temperature would be another's.
    again = tmp_path / "again" / run.name
    shutil.copytree(run, again)
    (again / "calibration.json").unlink()
    push(again, "me/door", "probe", endpoint=hub.endpoint)
    assert "calibration.json" not in repository.files


def test_a_store_goes_to_the_hub_part_by_part(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.refuse_commits_after = 1
    with pytest.raises(HubError, match="me/tokens"):
        push(store.path, "me/tokens", "store", public=True, endpoint=hub.endpoint)
    repository = hub.repositories["datasets/me/tokens"]
    assert not repository.private
    with pytest.raises(UsageError, match="was its push broken off"):
        pull("datasets/me/tokens", tmp_path, endpoint=hub.endpoint)
    hub.refuse_commits_after = None
    sent = [line for line in hub.requests if line.startswith("PUT")]
    push(store.path, "me/tokens", "store", endpoint=hub.endpoint)
    assert repository.commits == [
        *(f"Part {name}" for name in store.parts),
        "Tables and manifest: 12 clips in 2 parts",
    ]
    assert len(set(sent)) == len(sent)
    target = pull("datasets/me/tokens", tmp_path, endpoint=hub.endpoint)
    assert target == tmp_path / "tokens"
    again = open_store(target)
    assert again.fingerprint == store.fingerprint
    assert np.array_equal(again.read(again.ids), store.read(store.ids))
    assert again.clips() == store.clips()
    assert "12 clips of made-up (test 4, train 8)" in (target / "README.md").read_text()


def test_the_hub_keeps_one_store_to_a_repository(hub: Hub, store: Store, tmp_path: Path) -> None:
    push(store.path, "me/tokens", "store", endpoint=hub.endpoint)
    with pytest.raises(SpecMismatch, match="frames"):
        push(make_store(tmp_path / "a", frames=4).path, "me/tokens", "store", endpoint=hub.endpoint)
    other = make_store(tmp_path / "b", parts=1)
    with pytest.raises(UsageError, match="holds 2 parts that"):
        push(other.path, "me/tokens", "store", endpoint=hub.endpoint)
    push(other.path, "me/tokens", "store", replace=True, endpoint=hub.endpoint)
    target = pull("datasets/me/tokens", tmp_path, endpoint=hub.endpoint)
    assert open_store(target).parts == other.parts


def test_what_comes_damaged_is_not_put_in_place(hub: Hub, store: Store, tmp_path: Path) -> None:
    push(store.path, "me/tokens", "store", endpoint=hub.endpoint)
    files = hub.repositories["datasets/me/tokens"].files
    (name,) = (n for n in files if store.parts[0] in n and "/c." in n)
    whole = files[name]
    files[name] = whole[:40] + b"x" + whole[41:]
    with pytest.raises(DamagedStore, match="what came is damaged"):
        pull("datasets/me/tokens", tmp_path, endpoint=hub.endpoint)
    assert not (tmp_path / "tokens").exists()
    files[name] = whole
    hub.requests.clear()
    pull("datasets/me/tokens", tmp_path, endpoint=hub.endpoint)
    assert [line for line in hub.requests if "GET" in line and "resolve" in line] == [
        f"GET /datasets/me/tokens/resolve/{hub.repositories['datasets/me/tokens'].head}/{name}"
    ]


def test_code_and_names_of_strangers_stay_where_they_are(
    hub: Hub, run: Path, tmp_path: Path
) -> None:
    push(run, "me/door", "probe", endpoint=hub.endpoint)
    files = hub.repositories["me/door"].files
    files["evil.py"] = files["weights.pkl"] = b"raise SystemExit(3)"
    target = pull("me/door", tmp_path, endpoint=hub.endpoint)
    assert not {path.name for path in target.iterdir()} & {"evil.py", "weights.pkl"}
    record = json.loads(files["run.json"])
    files["run.json"] = json.dumps(record | {"run": "../outside"}).encode()
    with pytest.raises(UsageError, match="no name of a folder"):
        pull("me/door", tmp_path / "a", endpoint=hub.endpoint)
    config = record["config"] | {"method": "evil.py:Probe"}
    files["run.json"] = json.dumps(
        record | {"method": "evil.py:Probe", "config": config, "run": "x"}
    ).encode()
    with pytest.raises(UsageError, match="code is never pulled"):
        pull("me/door", tmp_path / "b", endpoint=hub.endpoint)
    assert not (tmp_path / "outside").exists()


def test_what_the_hub_refuses_is_one_line(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--hub", "--endpoint", hub.endpoint)
    out = ("--out", tmp_path / "pulled")
    assert "no such repository" in call("pull", "me/none", *out, *words, code=1)
    assert not list((tmp_path / "pulled").iterdir())
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "Invalid" in (said := call("push", run, "--to", "me/door", *words, code=1))
    assert len(said.strip().splitlines()) == 1
    assert "neither a trained probe" in call("push", tmp_path, "--to", "me/x", *words, code=2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids it" in call("push", run, "--to", "me/door", *words, code=1)


def test_texts_go_with_their_store_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "door")
    folder = write_text(store.path, "clip", {"tower": "clip", "classes": ["open"]}, b"tensors")
    assert isinstance(folder, Path)
    given = push_to_folder(tmp_path / "door", tmp_path / "given")
    got = pull_from_folder(given, tmp_path / "out")
    assert contents(got / "text") == contents(folder.parent)
    tensors = given / "text" / "clip" / read_text(place_of(given), "clip").file
    tensors.write_bytes(b"TENSORS")
    with pytest.raises(DamagedStore, match="what came is damaged: text/clip/text-"):
        pull_from_folder(given, tmp_path / "again")
