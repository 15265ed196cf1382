"""Links in what others hand over are never followed; only files on a list are taken."""

import os
import shutil
from pathlib import Path

import pytest
from command_line import call, invoke
from hub_server import Hub
from small_store import make_store

from stepcli.apply.prediction.api import train
from stepcli.apply.sharing.hub import pull, push
from stepcli.apply.sharing.parcels import files_of, is_permitted
from stepcli.cache.store.store import Store, open_store
from stepcli.runtime.errors import StepcliError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
SECRET = b"the private key of the user who runs stepcli"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store, and the folder of a probe trained on it."""
    store = make_store(tmp_path_factory.mktemp("links") / "door")
    runs = tmp_path_factory.mktemp("runs")
    (record,) = train(store.path, "step", runs=runs, shared={"epochs": 1}, device="cpu", heads=1)
    return store, runs / record.run


@pytest.fixture
def store(made: tuple[Store, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0].path, tmp_path / "theirs" / "door"))


@pytest.fixture
def run(made: tuple[Store, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "theirs" / made[1].name))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder outside of what an untrusted source handed over, with a file in each form."""
    folder = tmp_path / "home"
    (folder / "tower").mkdir(parents=True)
    for name in ("id_rsa", "tower/text.json", "tower/text.safetensors", "key.jsonl", "key.json"):
        (folder / name).write_bytes(SECRET)
    return folder


def link_to(place: Path, target: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def nothing_leaked(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not path.is_symlink(), path
        assert not path.is_file() or SECRET not in path.read_bytes(), path


RUN_LINKS = {
    "weights": ("probe.safetensors", "id_rsa"),
    "calibration": ("calibration.json", "id_rsa"),
    "order tests": ("order.json", "id_rsa"),
    "labels of frames": ("dense.json", "id_rsa"),
    "onnx": ("probe.onnx", "id_rsa"),
    "card": ("README.md", "id_rsa"),
    "record": ("run.json", "id_rsa"),
    "folder of texts": ("text", "."),
    "texts of a tower": ("text/tower", "tower"),
    "a text": ("text/tower/text.safetensors", "id_rsa"),
}


@pytest.mark.parametrize("case", RUN_LINKS)
def test_links_in_a_run_are_not_followed(
    case: str, run: Path, secret: Path, tmp_path: Path
) -> None:
    name, target = RUN_LINKS[case]
    link_to(run / name, secret / target)
    for words in (
        ("pull", run, "--out", tmp_path / "pulled"),
        ("push", run, "--to", tmp_path / "pushed"),
        ("export", run, "--out", tmp_path / "exported"),
    ):
        try:
            call(*words, code=2)
        except AssertionError:
            # What this command does not need at all is left where it is.
            assert (case, words[0]) in {
                *(("onnx", "export"), ("card", "export")),
                *(("folder of texts", "export"), ("texts of a tower", "export")),
                ("a text", "export"),
            }, words
    for out in ("pulled", "pushed", "exported"):
        nothing_leaked(tmp_path / out)


STORE_LINKS = {
    "table": ("clips.parquet", "id_rsa"),
    "classes": ("classes.csv", "id_rsa"),
    "manifest": ("manifest.json", "id_rsa"),
    "texts": ("text", "."),
    "texts of a tower": ("text/tower", "tower"),
    "failures": ("failures", "."),
    "a failure": ("failures/key.jsonl", "key.jsonl"),
    "tombstones": ("tombstones", "."),
    "versions": ("versions", "."),
    "parts": ("parts", "."),
}


@pytest.mark.parametrize("case", STORE_LINKS)
def test_links_in_a_store_are_not_followed(
    case: str, store: Path, secret: Path, tmp_path: Path
) -> None:
    name, target = STORE_LINKS[case]
    link_to(store / name, secret / target)
    for words in (
        ("push", store, "--to", tmp_path / "a"),
        ("pull", store, "--out", tmp_path / "b"),
    ):
        done = invoke(*words)
        assert done.exit_code in (2, 4), done.output
        assert len(done.stderr.splitlines()) == 1
    nothing_leaked(tmp_path / "a")
    nothing_leaked(tmp_path / "b")


def test_a_link_for_a_part_or_its_file_is_not_followed(
    store: Path, secret: Path, tmp_path: Path
) -> None:
    first, second = sorted((store / "parts").iterdir())
    link_to(first / "part.json", secret / "id_rsa")
    with pytest.raises(StepcliError):
        files_of(store, "store")
    shutil.move(second, tmp_path / "elsewhere")
    second.symlink_to(tmp_path / "elsewhere")
    (first / "part.json").unlink()
    assert not [name for name in files_of(store, "store") if second.name in name]


def test_your_own_link_to_a_run_or_store_is_followed(
    run: Path, store: Path, tmp_path: Path
) -> None:
    """The path on the command line is yours; everything below it is theirs."""
    (tmp_path / "mine").mkdir()
    for folder in (run, store):
        link = tmp_path / "mine" / folder.name
        link.symlink_to(folder)
        call("push", link, "--to", tmp_path / "shelf")
        call("pull", link, "--out", tmp_path / "pulled")
        assert (tmp_path / "pulled" / folder.name).is_dir()


@pytest.mark.parametrize("where", ["the target", "the staging folder"])
def test_links_where_things_are_put_are_not_followed(
    where: str, run: Path, store: Path, secret: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = sorted(secret.rglob("*"))
    for folder in (run, store):
        name = folder.name if where == "the target" else f".pulling-{folder.name}"
        (out / name).symlink_to(secret)
        call("pull", folder, "--out", out, code=2)
    if where == "the target":
        call("export", run, "--out", out, code=2)
        call("push", run, "--to", out, code=2)
        call("push", store, "--to", out, code=2)
    assert sorted(secret.rglob("*")) == before


@pytest.mark.parametrize(
    ("kind", "name", "permitted"),
    [
        ("probe", "run.json", True),
        ("probe", "text/clip-b16/text.safetensors", True),
        ("probe", "text/../run.json", False),
        ("probe", "text/../../text.json", False),
        ("probe", "text/tower/evil.py", False),
        ("probe", "text/tower/deep/text.json", False),
        ("probe", "/etc/passwd", False),
        ("probe", "probe.py", False),
        ("probe", "manifest.json", False),
        ("store", "manifest.json", True),
        ("store", "parts/000000-" + 32 * "0" + "/part.json", True),
        ("store", "parts/000000-" + 32 * "0" + "/tokens/c.0.0", True),
        ("store", "parts/000000-" + 32 * "0" + "/../../evil.py", False),
        ("store", "parts/000000-" + 32 * "0" + "/evil.PY", False),
        ("store", "parts/other/part.json", False),
        ("store", "failures/host.jsonl", True),
        ("store", "failures/.hidden.jsonl", False),
        ("store", "failures/host\x1b.jsonl", False),
        ("store", "tombstones/..json", False),
        ("store", "versions/clips-000001-" + 64 * "a" + ".parquet", True),
        ("store", "versions/x.sh", False),
        ("store", ".staging/x", False),
        ("store", "", False),
    ],
)
def test_what_may_be_taken(kind: str, name: str, permitted: bool) -> None:
    assert is_permitted(kind, name) is permitted  # type: ignore[arg-type]


def test_everything_that_a_store_writes_may_be_given(made: tuple[Store, Path]) -> None:
    store, _ = made
    files = (path for path in store.path.rglob("*") if path.is_file())
    there = {path.relative_to(store.path).as_posix() for path in files}
    assert {name for name in there if not name.startswith(".")} == set(
        files_of(store.path, "store")
    )


EVIL = (
    *("text/evil.py", "text/tower/sitecustomize.py", "text/../../evil.py", "../evil.py"),
    *("parts/evil/evil.py", "/tmp/stepcli-evil.py"),
)


def test_a_hub_gives_only_what_is_on_the_list(
    hub: Hub, made: tuple[Store, Path], tmp_path: Path
) -> None:
    store, run = made
    push(run, "me/door", "probe", endpoint=hub.endpoint)
    push(store.path, "me/tokens", "store", endpoint=hub.endpoint)
    for repository in ("me/door", "datasets/me/tokens"):
        hub.repositories[repository].files |= dict.fromkeys(EVIL, b"raise SystemExit(3)")
        target = pull(repository, tmp_path / "out" / "deep", endpoint=hub.endpoint)
        assert not [path for path in tmp_path.rglob("*.py") if "hub" not in path.parts]
        assert not Path("/tmp/stepcli-evil.py").exists()
    assert open_store(target).fingerprint == store.fingerprint


def test_what_an_earlier_try_left_is_cleaned(
    hub: Hub, made: tuple[Store, Path], secret: Path, tmp_path: Path
) -> None:
    store, _ = made
    push(store.path, "me/tokens", "store", endpoint=hub.endpoint)
    staging = tmp_path / "out" / ".pulling-tokens"
    (staging / "text").mkdir(parents=True)
    (staging / "text" / "evil.py").write_text("1")
    (staging / "failures").symlink_to(secret)
    target = pull("datasets/me/tokens", tmp_path / "out", endpoint=hub.endpoint)
    assert not (target / "text" / "evil.py").exists()
    assert not (target / "failures").exists()
    assert (secret / "id_rsa").read_bytes() == SECRET


def test_a_probe_with_a_pipe_for_weights_does_not_hang(run: Path) -> None:
    (run / "probe.safetensors").unlink()
    os.mkfifo(run / "probe.safetensors")
    assert call("export", run, code=2)
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")
    assert call("push", run, "--to", run.parent, code=2)
