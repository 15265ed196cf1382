"""Backbones from outside: a function in a user's own file, or of an installed package."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from command_line import call
from installed_package import Installer
from torch import nn

from stepcli.extract.backbones.base import BackboneError, FeatureMapBackbone, check_facts
from stepcli.extract.backbones.load import load_backbone, load_recorded_backbone
from stepcli.extract.backbones.names import GROUP, full_name, known_names, stored_name
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.trust import trust

CODE = """
from types import SimpleNamespace
import torch
from torch import nn
from stepcli.extract.backbones.custom_backbone import ImageModel
from stepcli.extract.backbones.names import NamedBackbone

class Sequence(nn.Module):
    def __init__(self, cls=1):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, cls, 8))
    def forward(self, x):
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), patches], 1)

class Output(Sequence):
    def forward(self, x):
        return SimpleNamespace(last_hidden_state=super().forward(x))

def feature_map(): return ImageModel(nn.Conv2d(3, 8, 16, 16), size=64)
def sequence(): return ImageModel(Sequence(), size=64, prefix=("cls",))
def output(): return ImageModel(Output(), size=64, prefix=("cls",), grid=(2, 8))
def fails(): return {}["x"]
def nothing(): pass
def no_grid(): return ImageModel(Sequence(), size=64)
def two_grids(): return ImageModel(nn.Conv2d(3, 8, 16, 16), size=64, grid=(2, 8))
def flat(): return ImageModel(nn.Flatten(), size=64)
def too_small(): return ImageModel(nn.Conv2d(3, 8, 16, 16), size=8)
def not_finite():
    made = feature_map()
    made.model.weight.data.fill_(float("nan"))
    return made
class Late(nn.Conv2d):
    def forward(self, x):
        import part_of_another_time
def late(): return ImageModel(Late(3, 8, 16, 16), size=64)
class Missing(nn.Conv2d):
    def forward(self, x):
        import no_such_part
def missing(): return ImageModel(Missing(3, 8, 16, 16), size=64)
HUB = NamedBackbone("", "me/repository", "mine")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_model.py"
    path.write_text(CODE)
    return path


@torch.inference_mode()
def test_a_model_becomes_a_backbone(file: Path) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    conv = load_backbone(f"{file}:feature_map")
    assert conv.facts.name == "my_model.py:feature_map"
    assert conv.facts.source == f"{file}:feature_map"
    assert (conv.facts.dim, conv.facts.grid, conv.facts.prefix) == (8, (4, 4), ())
    prefix, patches = conv.tokens(pixels)
    assert tuple(prefix.shape) == (2, 0, 8)
    assert isinstance(conv.model, nn.Conv2d)
    torch.testing.assert_close(patches, conv.model(pixels).permute(0, 2, 3, 1))
    for name, grid in (("sequence", (4, 4)), ("output", (2, 8))):
        backbone = load_backbone(f"{file}:{name}")
        prefix, patches = backbone.tokens(pixels)
        assert backbone.facts.grid == grid
        torch.testing.assert_close(prefix, backbone.model.cls.expand(2, -1, -1))
        rows = backbone.model.patch(pixels).flatten(2).transpose(1, 2)
        torch.testing.assert_close(patches, rows.reshape(2, *grid, 8))


def test_weights_that_are_drawn_are_the_same_in_each_process(file: Path) -> None:
    state = torch.random.get_rng_state()
    first = load_backbone(f"{file}:sequence")
    torch.rand(5)
    second = load_backbone(f"{file}:sequence")
    assert first.weights_digest == second.weights_digest
    file.write_text(CODE + "# changed\n")
    third = load_backbone(f"{file}:sequence")
    assert third.weights_digest == first.weights_digest
    assert third.code_digest != first.code_digest == second.code_digest
    torch.random.set_rng_state(state)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "my_model.py:fails failed: KeyError: 'x'"),
        ("nothing", "returned NoneType; expected ImageModel"),
        ("no_grid", r"returned 17 tokens, 0 of them prefix \(none\): 17 patches are no grid"),
        ("two_grids", "a feature map .* has no prefix, and its own grid"),
        ("flat", r"its model returned \[1, 12288\]; expected a feature map"),
        ("too_small", r"its model fails on \[1, 3, 8, 8\] pixels"),
        ("not_finite", "tokens that are not finite"),
    ],
)
def test_models_that_do_not_fit_are_one_line(name: str, said: str, file: Path) -> None:
    with pytest.raises(BackboneError, match=said):
        load_backbone(f"{file}:{name}")


def test_a_package_that_a_model_loads_late_is_named(file: Path, install: Installer) -> None:
    """Not the pixels, nor the image processor."""
    install("part_of_another_time", 'raise RuntimeError("operator x does not exist")', {})
    said = r"my_model.py:late: part_of_another_time does not load \(RuntimeError: operator x"
    with pytest.raises(BackboneError, match=said):
        load_backbone(f"{file}:late")
    with pytest.raises(
        BackboneError, match=r"missing: no_such_part, which \w+ imports, is not inst"
    ):
        load_backbone(f"{file}:missing")
    plain = load_backbone(f"{file}:feature_map")
    plain.model.forward = load_late  # type: ignore[method-assign]
    with pytest.raises(BackboneError, match="feature_map: part_of_another_time does not load"):
        check_facts(plain)


def load_late(pixels: torch.Tensor) -> None:
    import_module("part_of_another_time")


def test_names_are_found_and_stored_without_their_folder(file: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean sequence"):
        load_backbone(f"{file}:sequnce")
    with pytest.raises(UsageError, match=r"--backbone x/none.py:build: there is no file x/none.py"):
        load_backbone("x/none.py:build")
    for spec in (f"{file}:sequence", "./my_model.py:sequence", "x/my_model.py:sequence"):
        assert full_name(spec) == spec
        assert stored_name(spec) == "my_model.py:sequence"


def test_a_recorded_file_must_be_trusted(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCLI_STATE", str(tmp_path / "state"))
    witness = tmp_path / "was-run"
    file.write_text(CODE + f"open({str(witness)!r}, 'w').close()\n")
    with pytest.raises(UsageError, match=f"stepcli trust {file}"):
        load_recorded_backbone(f"{file}:sequence")
    assert not witness.exists()
    trust(file)
    assert load_recorded_backbone(f"{file}:sequence").facts.dim == 8
    assert witness.exists()


def test_packages_add_backbones(install: Installer) -> None:
    offered = {"mine": "sequence", "hub": "HUB", "vit-b16": "sequence", "cls": "Sequence"}
    install("models_a", CODE, {f"{GROUP}: {k}": f"models_a:{v}" for k, v in offered.items()})
    install("models_b", "import no_such_module", {f"{GROUP}: broken": "models_b:build"})
    backbone = load_backbone("mine")
    assert backbone.facts.name == "mine"
    assert backbone.facts.source == "models_a:sequence of models_a 1.0"
    assert len(backbone.code_digest) == 64
    assert load_recorded_backbone("mine").weights_digest == backbone.weights_digest
    assert {"mine", "broken"} <= set(known_names())
    for name, said in (
        ("hub", "backbone hub: me/repository is not in the local cache"),
        ("vit-b16", r"by stepcli itself and by models_a 1.0 \(models_a:sequence\)"),
        ("cls", "models_a:Sequence is no function that returns an ImageModel"),
        ("broken", "broken of the package models_b 1.0 .* cannot be loaded: ModuleNotFoundError"),
    ):
        with pytest.raises(UsageError, match=said):
            load_backbone(name)
    with pytest.raises(UnknownName, match="did you mean mine"):
        load_backbone("mien")
    assert isinstance(load_backbone("mobilenet_v2-bundled"), FeatureMapBackbone)
    assert "models_b:build" in call("backbones")
