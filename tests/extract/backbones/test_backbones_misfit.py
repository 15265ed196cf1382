"""Folders of models whose files are missing, damaged or do not fit each other: one line each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call
from safetensors.torch import load_file, save_file

from stepcli.extract.backbones.base import BackboneError
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.names import full_name, stored_name
from stepcli.extract.pipeline.text_embeddings import load_text_tower
from stepcli.runtime.errors import UsageError

CONFIG, PIXELS, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
Change = Callable[[Path], None]


def setting(file: str, **values: Any) -> Change:
    """Change fields of a JSON file of a model."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def without(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def content(file: str, data: bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(data) and None


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors["embeddings.cls_token"] = tensors["embeddings.cls_token"] * torch.nan


def narrow(tensors: dict[str, torch.Tensor]) -> None:
    tensors["embeddings.cls_token"] = tensors["embeddings.cls_token"][..., :16].contiguous()


CASES: dict[str, tuple[Change, str]] = {
    "another size": (
        setting(PIXELS, size={"height": 96, "width": 96}),
        r"does not take the 96 x 96 pixels .* image_size 64",
    ),
    "no multiple of the patch": (
        setting(PIXELS, size={"height": 70, "width": 70}),
        r"does not take the 70 x 70 pixels",
    ),
    "grey images": (setting(CONFIG, num_channels=1), r"has num_channels 1; expected 3"),
    "no filter": (setting(PIXELS, resample=None), r"has resample: None; expected a PIL filter"),
    "unknown filter": (setting(PIXELS, resample=17), r"has resample: 17"),
    "no mean": (setting(PIXELS, image_mean=None), r"has image_mean: None; expected 3 numbers"),
    "no deviation": (setting(PIXELS, image_std=None), r"has image_std: None"),
    "a grey mean": (setting(PIXELS, image_mean=[0.5]), r"has image_mean: .0.5,?.; expected 3"),
    "a deviation of 0": (setting(PIXELS, image_std=[0.0, 1.0, 1.0]), r"has image_std"),
    "no scale": (setting(PIXELS, rescale_factor=None), r"has rescale_factor: None"),
    "a text as scale": (setting(PIXELS, rescale_factor="1/255"), r"has rescale_factor: '1/255'"),
    "no crop size": (
        setting(
            PIXELS, do_center_crop=True, crop_size=None, image_processor_type="CLIPImageProcessor"
        ),
        r"has crop_size: None",
    ),
    "a longest edge": (setting(PIXELS, size={"longest_edge": 64}), r"has size|cannot be loaded"),
    "a side of 0": (setting(PIXELS, size={"height": 0, "width": 64}), r"has size|cannot be loaded"),
    "an endless side": (setting(PIXELS, size={"height": 10**9, "width": 10**9}), r"has size"),
    "no processor": (without(PIXELS), r"has no preprocessor_config\.json"),
    "broken processor": (content(PIXELS, b"{"), r"cannot be loaded"),
    "processor no object": (content(PIXELS, b"[]"), r"cannot be loaded"),
    "no config": (without(CONFIG), r"has no config\.json"),
    "broken config": (content(CONFIG, b"{"), r"cannot be loaded"),
    "config no object": (content(CONFIG, b"[]"), r"cannot be loaded"),
    "config is binary": (content(CONFIG, b"\xff\xfe\x00"), r"cannot be loaded"),
    "config without type": (setting(CONFIG, model_type=None), r"cannot be loaded|not known here"),
    "a text as width": (setting(CONFIG, hidden_size="wide"), r"cannot be loaded"),
    "a patch of 0": (setting(CONFIG, patch_size=0), r"cannot be loaded"),
    "another width": (setting(CONFIG, hidden_size=48), r"cannot be loaded"),
    "a timm model": (
        setting(CONFIG, model_type="timm_wrapper"),
        r"timm models are not supported",
    ),
    "quantised": (
        setting(CONFIG, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        r"cannot be loaded",
    ),
    "attention from the hub": (
        setting(CONFIG, attn_implementation="nobody/attention"),
        r"names code for attention",
    ),
    "no weights": (without(WEIGHTS), r"cannot be loaded"),
    "pickled weights": (pickled, r"only pickled weights \(pytorch_model\.bin\)"),
    "weights cut off": (
        lambda folder: content(WEIGHTS, (folder / WEIGHTS).read_bytes()[:999])(folder),
        r"cannot be loaded",
    ),
    "weights of another shape": (weights(narrow), r"other shapes than its config"),
    "weights not finite": (weights(spoil), r"tokens that are not finite"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_does_not_fit_is_one_line(
    case: str, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    change, message = CASES[case]
    folder = tmp_path / "model"
    shutil.copytree(model_folder("vit"), folder)
    load_backbone(f"hf:{folder}")
    change(folder)
    with pytest.raises(UsageError, match=message) as caught:
        load_backbone(f"hf:{folder}")
    assert str(caught.value).startswith("backbone hf:model: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("family", ["clip", "resnet", "xclip", "videomae", "mobilenet_v2"])
@pytest.mark.parametrize(
    "change",
    [
        *(setting(CONFIG, num_channels=1), content(CONFIG, b"null"), without(WEIGHTS), pickled),
        *(setting(CONFIG, hidden_size=-1, hidden_sizes=[]), content(WEIGHTS, b"")),
    ],
    ids=["grey", "null", "no weights", "pickled", "sizes", "empty"],
)
def test_so_it_is_with_other_families(
    family: str, change: Change, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder(family), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    change(folder)
    try:
        load_backbone(f"hf:{folder}")
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 (a setting that a family does not read is fine)
    else:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} != before
        assert change.__qualname__.startswith("setting")


@pytest.mark.parametrize(
    "change",
    [
        *(content("tokenizer_config.json", b"{"), content("tokenizer.json", b"{}"), pickled),
        setting(CONFIG, text_config=None),
    ],
)
def test_a_text_tower_that_does_not_fit_is_one_line(
    change: Change, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("clip"), folder)
    load_text_tower(str(folder))
    change(folder)
    with pytest.raises(BackboneError) as caught:
        load_text_tower(str(folder))
    assert str(caught.value).startswith(f"--text {folder}: ")
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_2(
    model_folder: Callable[[str], Path], project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "vit_bigger"
    shutil.copytree(model_folder("vit"), folder)
    setting(PIXELS, size={"height": 96, "width": 96})(folder)
    clips = project / "examples" / "openclose" / "clips"
    said = call(
        *("extract", "--dataset", "folder", "--root", clips, "--backbone", folder),
        *("--frames", 4, "--tokens", "grid2", "--store", tmp_path / "store", "--limit", 1),
        code=2,
    )
    assert "96 x 96 pixels" in said
    assert not (tmp_path / "store").exists()


def test_timm_is_named() -> None:
    for name in ("timm/vit_base_patch16_224.augreg_in21k", "hf:timm/resnet50.a1_in1k"):
        with pytest.raises(BackboneError, match="timm models are not supported"):
            load_backbone(name)


def test_a_folder_and_a_repository_need_no_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-vit").mkdir()
    (tmp_path / "dinov2-base").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    full = {
        "my-vit": "hf:my-vit",
        "./my-vit": "hf:my-vit",
        f"{tmp_path}/my-vit/": f"hf:{tmp_path}/my-vit",
        "hf:~/my-vit": f"hf:{tmp_path}/my-vit",
        "/no/such": "hf:/no/such",
        "facebook/dinov2-base": "hf:facebook/dinov2-base",
        "facebook/dinov2-base@refs/pr/1": "hf:facebook/dinov2-base@refs/pr/1",
        "dinov2-base": "dinov2-base",  # the short name goes before the folder
        "hf:dinov2-base": "hf:dinov2-base",
        "dinov2-bas": "dinov2-bas",
    }
    assert {name: full_name(name) for name in full} == full
    for name in ("my-vit", "./my-vit", f"{tmp_path}/my-vit/", "hf:my-vit/", "~/my-vit"):
        assert stored_name(name) == "hf:my-vit"
    monkeypatch.chdir(tmp_path / "my-vit")
    assert stored_name(".") == stored_name("hf:.") == "hf:my-vit"
