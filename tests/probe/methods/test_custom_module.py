"""A user's own probe from a file: the example in docs, trained beside the built-in ones."""

import hashlib
import json
import py_compile
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import invoke
from torch import Generator, Tensor, nn

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.data.tokens import TokenBatch
from stepcli.probe.methods.custom_module import load_own
from stepcli.probe.methods.registry import methods
from stepcli.probe.nn.bank import stack
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.progress import SweepProgress
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.banks import build_probe, make_banks
from stepcli.runtime.errors import UsageError

EXAMPLE = "LastMinusFirst"
CROPS = ("--task", "arrow", "--clip-frames", "4", "--temporal-crop", "--epochs", "60")


@pytest.fixture
def file(project: Path, tmp_path: Path) -> Path:
    """The Python block of docs/own-probe.md."""
    text = (project / "docs" / "own-probe.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "my_probe.py"
    path.write_text(code)
    return path


def test_the_example_in_docs_learns_order(file: Path, store: Store, tmp_path: Path) -> None:
    place = ("--store", store.path, "--runs", tmp_path / "runs")
    words = ("--method", f"{file}:{EXAMPLE},linear", "--seeds", 2, "--lr", 0.01)
    done = invoke("probe", *words, *CROPS, *place)
    assert done.exit_code == 0, done.output
    rows = json.loads(invoke("results", "--runs", tmp_path / "runs", "--format", "json").stdout)
    own = [row for row in rows if row["method"].endswith(EXAMPLE)]
    assert len(own) == 2
    assert min(row["top1"] for row in own) > 0.9
    assert own[0]["params"] == 2 * 16 + 16 * 2 + 2
    again = invoke("probe", *words, *CROPS, *place)
    assert "4 of 4 runs are done already" in again.output


def test_other_code_is_another_run(file: Path, store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "my_probe.py"
    copy.parent.mkdir()
    copy.write_text(file.read_text() + "\n# changed\n")
    first, second = (load_own(f"{path}:{EXAMPLE}").defaults() for path in (file, copy))
    assert first != second


def test_a_bank_of_own_probes_computes_what_they_compute_alone(
    file: Path, tokens: Tensor, layout: TokenLayout
) -> None:
    info = load_own(f"{file}:{EXAMPLE}")
    probes = [
        info.build(layout, 3, info.options(), Generator().manual_seed(seed)) for seed in range(3)
    ]
    bank = stack(probes)
    before = tokens.clone()
    logits = bank(TokenBatch(tokens))
    for index, probe in enumerate(probes):
        torch.testing.assert_close(logits[index], probe(TokenBatch(tokens))[0])
        assert torch.equal(bank.member(index)(TokenBatch(tokens)), probe(TokenBatch(tokens)))
    assert torch.equal(tokens, before)
    assert not torch.allclose(logits[0], logits[1])
    torch.manual_seed(0)
    textbook = nn.Linear(32, 3)
    assert bank.get_parameter("head__weight").shape == (3, *textbook.weight.shape)


SLOW = """
import time
from torch import nn


class Slow(nn.Module):
    def __init__(self, frames, tokens, dim, classes):
        super().__init__()
        self.first = nn.Linear(dim, dim)
        time.sleep(0.01)  # others are built in the meantime
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        return self.head(self.first(x.mean(dim=(1, 2))))
"""


def test_probes_built_side_by_side_have_the_values_of_their_seeds(
    layout: TokenLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module draws from torch's one generator."""
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    name = f"{file}:Slow"
    methods().load(name)
    configs = [RunConfig(method=name, options={}, seed=seed) for seed in range(4)]
    before = torch.get_rng_state()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    (bank,) = make_banks(configs, layout, 1, torch.ones(3), torch.device("cpu"), 1)
    assert torch.equal(torch.get_rng_state(), before)
    for index, config in enumerate(configs):
        torch.manual_seed(config.seed)
        first, head = nn.Linear(32, 32), nn.Linear(32, 3)
        assert torch.equal(bank.probe.get_parameter("first__weight")[index], first.weight)
        assert torch.equal(bank.probe.get_parameter("head__weight")[index], head.weight)


NOISY = """
import torch
from torch import nn


class Noisy(nn.Module):
    def __init__(self, frames, tokens, dim, classes):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(dim), nn.Dropout(0.5)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.drop(self.norm(x.mean(dim=(1, 2))))
        return self.head(x + torch.randn_like(x) if self.training else x)
"""


def test_what_a_module_draws_depends_on_its_seed_and_the_step(store: Store, tmp_path: Path) -> None:
    """Not on the probes beside it, nor on a kill: alone, in a bank, and resumed it is the same."""
    (tmp_path / "noisy.py").write_text(NOISY)
    name = f"{tmp_path / 'noisy.py'}:Noisy"
    methods().load(name)
    shared = DataConfig(epochs=3, batch_size=4, accumulate=2)

    def configs(*seeds: int) -> list[RunConfig]:
        return [RunConfig(method=name, options={}, seed=seed, shared=shared) for seed in seeds]

    def losses(runs: str, configs: list[RunConfig]) -> dict[int, list[float]]:
        session = Session(Path(str(store.path)), tmp_path / runs, "cpu", save_seconds=0)
        return {record.seed: record.losses for record in session.run(configs)}

    others = RunConfig(method="linear", options={}, seed=0, shared=shared)
    wanted = losses("together", [others, *configs(0, 1, 2)])
    assert wanted[1] != wanted[2]
    torch.rand(3)
    alone = losses("alone", configs(1))
    assert alone[1] == wanted[1]

    class Killed(Exception):
        pass

    def die(*args: Any) -> None:
        if args[-1].epoch == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SweepProgress, "epoch", die)
        with pytest.raises(Killed):
            losses("resumed", configs(1, 2))
    resumed = losses("resumed", configs(1, 2))
    assert resumed == {seed: wanted[seed] for seed in (1, 2)}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("nowhere.py:Probe", "there is no file nowhere.py"),
        ("{file}:LastMinusFrist", "did you mean LastMinusFirst"),
        ("{file}:Wrong", "returned (8, 4, 2, 16)"),
    ],
)
def test_mistakes_are_named(
    method: str, message: str, file: Path, store: Store, tmp_path: Path
) -> None:
    file.write_text(
        file.read_text()
        + "\n\nclass Wrong(nn.Linear):\n    def __init__(self, *shape):\n"
        + "        super().__init__(16, 16)\n"
    )
    words = ("--store", store.path, "--runs", tmp_path / "runs", "--batch-size", 8, *CROPS)
    done = invoke("probe", "--method", method.format(file=file), *words)
    assert done.exit_code == 2, done.output
    assert message in done.stderr


def test_a_file_that_a_run_names_is_run_only_where_it_is_vouched_for(
    file: Path, layout: TokenLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may come from anybody: its JSON names a method, and that must not run code."""
    witness = tmp_path / "was-run"
    file.write_text(f"open({str(witness)!r}, 'w').close()\n" + file.read_text())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    config: dict[str, Any] = {"method": f"{file}:{EXAMPLE}", "options": {"sha256": digest}}
    record = RunRecord.model_construct(run="theirs", config=config)
    methods.cache_clear()
    try:
        with pytest.raises(UsageError, match=f"stepcli trust {file}"):
            build_probe(record.settings, layout, 3)
        assert methods().sees_order(f"{file}:{EXAMPLE}")
        assert not witness.exists()
        monkeypatch.setenv("STEPCLI_OWN_CODE", f"{'0' * 64},{digest}")
        probe = build_probe(record.settings, layout, 3)
        assert probe.members == 1
        assert witness.exists()
        config["options"]["sha256"] = "1" * 64
        with pytest.raises(UsageError, match="has changed since this probe was trained"):
            build_probe(record.settings, layout, 3)
        config["method"] = "nowhere.py:Probe"
        with pytest.raises(UsageError, match=r"there is no file nowhere\.py"):
            build_probe(record.settings, layout, 3)
    finally:
        methods.cache_clear()


@pytest.fixture
def registry() -> Iterator[None]:
    """Methods without what other tests have loaded, and nothing left of this one's."""
    methods.cache_clear()
    yield
    methods.cache_clear()


@pytest.mark.usefixtures("registry")
def test_bytecode_beside_a_vouched_source_is_not_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read and trusted is the source; Python would prefer the __pycache__."""
    honest, witness = file.read_text(), tmp_path / "bytecode-was-run"
    file.write_text(f"open({str(witness)!r}, 'w').close()\n" + honest)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(file), doraise=True, invalidation_mode=unchecked)
    assert list((file.parent / "__pycache__").glob("my_probe.*.pyc"))
    file.write_text(honest)
    monkeypatch.setenv("STEPCLI_OWN_CODE", hashlib.sha256(file.read_bytes()).hexdigest())
    assert methods().get(f"{file}:{EXAMPLE}").source == str(file)
    methods.cache_clear()
    assert methods().load(f"{file}:{EXAMPLE}").source == str(file)
    assert not witness.exists()


@pytest.mark.usefixtures("registry")
def test_the_bytes_that_are_run_are_those_that_were_vouched_for(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write there replaces the file as soon as it has been read."""
    witness = tmp_path / "second-file-was-run"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setenv("STEPCLI_OWN_CODE", digest)
    plain_read = Path.read_bytes

    def read_and_replace(path: Path) -> bytes:
        content = plain_read(path)
        if path == file:
            file.write_text(f"open({str(witness)!r}, 'w').close()\n" + file.read_text())
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_replace)
    info = methods().get(f"{file}:{EXAMPLE}")
    assert info.defaults() == {"sha256": digest}
    assert not witness.exists()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("place", ["working folder", "search path"])
def test_a_module_beside_the_file_is_not_imported(
    file: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest covers one file; `python -m` and notebooks have the working folder on the path."""
    (file.parent / "beside_own.py").write_text("raise SystemExit('was run')\n")
    file.write_text("import beside_own\n" + file.read_text())
    monkeypatch.chdir(file.parent)
    monkeypatch.syspath_prepend("" if place == "working folder" else str(file.parent))
    monkeypatch.setenv("STEPCLI_OWN_CODE", hashlib.sha256(file.read_bytes()).hexdigest())
    for load in (methods().get, methods().load):
        with pytest.raises(UsageError, match=r"No module named 'beside_own'.*not files beside it"):
            load(f"{file}:{EXAMPLE}")
    assert str(file.parent) in sys.path or "" in sys.path


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("code", ["class (", "1 / 0", "import no_such_module", "\0"])
def test_a_file_that_does_not_run_is_one_line(code: str, file: Path, store: Store) -> None:
    file.write_text(code + "\n")
    before = set(sys.modules)
    done = invoke("probe", "--method", f"{file}:{EXAMPLE}", "--store", store.path)
    assert done.exit_code == 2, done.output
    assert "my_probe.py does not run" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [name for name in set(sys.modules) - before if name.startswith("stepcli_own_")]
