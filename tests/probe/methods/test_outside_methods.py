"""Methods from outside: options of a file's class, a file's ProbeInfo, installed packages."""

import json
from pathlib import Path

import pytest
import torch
from command_line import call, invoke
from installed_package import Installer
from torch import Generator

from stepcli.cache.store.store import Store
from stepcli.probe.config import DataConfig, RunConfig, TaskConfig
from stepcli.probe.data.layout import TokenLayout
from stepcli.probe.methods import catalogue
from stepcli.probe.methods.registry import methods, parse_options
from stepcli.probe.sweeps.expand import run_configs
from stepcli.runtime.errors import UnknownName, UsageError

WIDE = """
from torch import nn
class Wide(nn.Module):
    def __init__(self, frames, tokens, dim, classes, width: int = 8, act: str = "relu"):
        super().__init__()
        self.read = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, classes))
    def forward(self, x):
        return self.read(x.mean(dim=(1, 2)))
"""
BANK = """
from pydantic import Field
from stepcli.probe.methods.registry import ProbeInfo
from stepcli.probe.nn.layers import StackedLinear
from stepcli.probe.nn.pooling import PooledProbe, PoolOptions

class MineOptions(PoolOptions):
    twice: bool = Field(False, description="two layers")

class Mine(PooledProbe):
    def __init__(self, layout, classes, options, generator):
        super().__init__(layout, classes, options)
        self.head = StackedLinear(layout.dim, classes, generator)
    def forward(self, batch):
        return self.head(self.frame_means(batch).mean(dim=1))

INFO = ProbeInfo("anything", Mine, MineOptions, "mine, 2026", order_aware=False, lr=3e-3)
"""
GROUP = catalogue.GROUP


def run_of(name: str, **settings: object) -> RunConfig:
    methods().load(name)
    (found,) = run_configs(name, [settings], {}, TaskConfig(), DataConfig(epochs=1), [0])
    return found


def test_parameters_of_a_class_are_options(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "wide.py"
    file.write_text(WIDE)
    words = ("--epochs", 1, "--store", store.path, "--runs", tmp_path / "runs")
    call("sweep", "--method", f"{file}:Wide,mlp", "--set", "width=4,16", "--seeds", 1, *words)
    rows = json.loads(call("results", "--runs", tmp_path / "runs", "--format", "json"))
    own = [row for row in rows if row["method"].endswith(":Wide")]
    classes, dim = 2, 16
    assert sorted(row["params"] for row in own) == [
        width * (dim + 1) + classes * (width + 1) for width in (4, 16)
    ]
    for setting, said in (
        ("width=x", "option width='x'"),
        ("widht=3", "did you mean width"),
        ("sha256=0", "has changed since"),
    ):
        done = invoke("probe", "--method", f"{file}:Wide", "--set", setting, *words)
        assert done.exit_code == 2, done.output
        assert said in done.stderr


def test_a_class_without_options_keeps_the_id_of_earlier_versions(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(WIDE.replace(', width: int = 8, act: str = "relu"', "").replace("width", "9"))
    config = run_of(f"{file}:Wide")
    assert config.options.keys() == {"sha256"}
    assert config.run_id("f") == "Wide-41e8fa5c2cfb3beb"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("width: int = 8", "width: int", "its parameter width needs a default"),
        ("width: int = 8", "dropout: float = 0.1", "dropout has the name of a training setting"),
        ("width: int = 8", "sha256: str = ''", "cannot be called sha256"),
        ("nn.Module", "Probe", "is a bank of probes; name a ProbeInfo"),
    ],
)
def test_a_class_that_cannot_be_a_method_is_one_line(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "wide.py"
    file.write_text("from stepcli.probe.nn.bank import Probe\n" + WIDE.replace(old, new))
    with pytest.raises(UsageError, match=said):
        methods().load(f"{file}:Wide")


def test_a_probe_info_of_a_file_is_a_method_with_banks(tmp_path: Path, layout: TokenLayout) -> None:
    file = tmp_path / "bank.py"
    file.write_text(BANK)
    info = methods().load(f"{file}:INFO")
    assert (info.lr, info.order_aware, info.source) == (3e-3, False, "mine, 2026")
    assert info.defaults().keys() == {*methods().get("linear").defaults(), "twice", "sha256"}
    options = parse_options(info, {"twice": "true"})
    probe = info.build(layout, 3, options, Generator().manual_seed(0))
    assert probe.members == 1
    config = run_of(f"{file}:INFO", twice=True)
    assert config.recipe.lr == 3e-3
    assert config.run_id("f").startswith("INFO-")
    assert config.run_id("f") != run_of(f"{file}:INFO").run_id("f")


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "wide.py"
    file.write_text(WIDE)
    first = run_of(f"{file}:Wide")
    file.write_text(WIDE.replace("= 8", "= 12"))
    second = run_of(f"{file}:Wide")
    assert (first.options["width"], second.options["width"]) == (8, 12)
    assert first.run_id("f") != second.run_id("f")


def test_a_package_adds_a_method(install: Installer, store: Store, tmp_path: Path) -> None:
    file = install("probes_a", WIDE + BANK, {f"{GROUP}: wide": "probes_a:Wide"})
    words = ("--epochs", 1, "--store", store.path, "--runs", tmp_path / "runs")
    call("probe", "--method", "wide,linear", "--set", "width=3", *words)
    (run,) = (tmp_path / "runs").glob("wide-*")
    record = json.loads((run / "run.json").read_text())
    assert record["method"] == "wide"
    assert record["config"]["options"]["package"] == "probes_a 1.0"
    assert record["config"]["options"]["width"] == 3
    assert len(record["config"]["options"]["sha256"]) == 64
    assert catalogue.complete_methods("wi") == ["wide"]
    assert "2 of 2 runs are done already" in call(
        "probe", "--method", "wide,linear", "--set", "width=3", *words
    )
    # An installed package was chosen by its user: a run that names it needs no consent.
    methods.cache_clear()
    call("order", tmp_path / "runs", "--method", "wide")
    file.write_text(file.read_text() + "# changed\n")
    install.forget()
    (run / "order.json").unlink()
    done = invoke("order", tmp_path / "runs", "--method", "wide")
    assert done.exit_code == 2
    assert "probes_a 1.0 has changed since this probe was trained" in done.stderr
    for each in file.parent.glob("*.dist-info/entry_points.txt"):
        each.write_text("")
    install.forget()
    done = invoke("order", tmp_path / "runs", "--method", "wide")
    assert done.exit_code == 2
    assert "the method wide of the package probes_a 1.0, which is not installed" in done.stderr


def test_another_version_of_a_package_is_another_run(install: Installer) -> None:
    ids = set()
    for version in ("1.0", "1.1"):
        install("probes_b", BANK, {f"{GROUP}: mine": "probes_b:INFO"}, version)
        if version == "1.1":  # the older one is behind it on the path: as after an upgrade
            break
        ids.add(run_of("mine").run_id("f"))
    old = next(Path(install("probes_c", "", {})).parents[1].glob("site-probes_b-1.0"))
    for each in old.rglob("*"):
        if each.name == "entry_points.txt":
            each.write_text("")
    install.forget()
    ids.add(run_of("mine").run_id("f"))
    assert len(ids) == 2


def test_a_broken_package_breaks_its_own_name_alone(
    install: Installer, store: Store, tmp_path: Path
) -> None:
    install("probes_d", "1 / 0", {f"{GROUP}: broken": "probes_d:P", f"{GROUP}: step": "probes_d:P"})
    install("probes_e", "P = 3", {f"{GROUP}: number": "probes_e:P"})
    words = ("--epochs", 1, "--store", store.path, "--runs", tmp_path / "runs")
    call("probe", "--method", "linear", *words)
    assert "linear" in call("results", "--runs", tmp_path / "runs")
    table = call("methods", "--store", store.path)
    assert "linear " in table
    assert "broken                -      -           not available" in table
    assert "ZeroDivisionError" in table
    for name, said in (
        ("broken", "broken of the package probes_d 1.0 (probes_d:P) cannot be loaded: ZeroDiv"),
        ("step", "by stepcli itself and by probes_d 1.0 (probes_d:P)"),
        ("number", "probes_e:P is no nn.Module or ProbeInfo"),
        ("brokne", "did you mean broken"),
    ):
        done = invoke("probe", "--method", name, *words)
        assert done.exit_code == 2, done.output
        assert said in done.stderr
    assert methods().sees_order("broken")
    assert methods().usual_options("broken") == {}
    assert torch.is_grad_enabled()


def test_every_built_in_method_is_declared_once_by_its_file() -> None:
    """The names that are read from the files are those that importing them gives."""
    infos = methods().built_in()
    assert [info.name for info in infos] == sorted(catalogue.built_in())
    assert len({catalogue.built_in()[info.name] for info in infos}) == 26
    with pytest.raises(UnknownName, match="did you mean step"):
        catalogue.require_known(["linear", "stpe"])
    catalogue.require_known(["linear", "no/file.py:Any"])
