"""Texts that are stored beside the tokens are what transformers makes of the same words."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from stepcli.cache import create_store
from stepcli.cache.schema.clips import ClassRow
from stepcli.cache.store.store import Store
from stepcli.extract.backbones.base import BackboneError
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.backbones.token_selection import parse_tokens
from stepcli.extract.datasets.unit_files import read_texts
from stepcli.extract.pipeline.prepare import make_spec
from stepcli.extract.pipeline.text_embeddings import (
    label_text,
    load_text_tower,
    read_templates,
    store_text,
)
from stepcli.runtime.errors import UsageError

LABELS = ["opening_door", "closing_door", "eating"]


@pytest.fixture(scope="module")
def folder(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("clip")


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Store:
    backbone = load_backbone(f"hf:{folder}")
    selection = parse_tokens("cls", backbone.facts)
    spec = make_spec(backbone, selection, 2, "uniform", "float32")
    made = create_store(tmp_path / "store", spec, dataset="x")
    made.replace_classes([ClassRow(name, index) for index, name in enumerate(LABELS)])
    return made


def plain(folder: Path, text: str) -> torch.Tensor:
    """One text, unpadded, through the plain model; unit length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model.get_text_features(**tokenizer([text], return_tensors="pt")).pooler_output
    return torch.nn.functional.normalize(output[0], dim=-1)


def test_labels_templates_and_units_are_stored(folder: Path, store: Store) -> None:
    templates = ["{}", "a video of {}."]
    place = store_text(store, load_text_tower(f"hf:{folder}"), templates, ["a hand", "a door"])
    assert place == Path(str(store.path)) / "text" / "tiny-clip"
    found = load_file(next(Path(str(place)).glob("*.safetensors")))
    assert found["labels"].shape == (3, 16)
    assert found["templates"].shape == (3, 2, 16)
    assert found["units"].shape == (2, 16)
    torch.testing.assert_close(found["templates"][0, 1], plain(folder, "a video of opening door."))
    torch.testing.assert_close(found["units"][1], plain(folder, "a door"))
    mean = torch.nn.functional.normalize(found["templates"].mean(1), dim=-1)
    torch.testing.assert_close(found["labels"], mean)
    facts = json.loads((place / "text.json").read_text())
    assert facts["labels"] == ["opening door", "closing door", "eating"]
    assert facts["templates"] == templates
    assert facts["sha256"] == hashlib.sha256((place / facts["file"]).read_bytes()).hexdigest()
    assert {path.name for path in place.iterdir()} == {"text.json", facts["file"]}


def test_a_stored_cls_token_reaches_the_space_of_the_texts(folder: Path, store: Store) -> None:
    """LayerNorm and projection from the file give CLIP's own image features."""
    place = store_text(store, load_text_tower(f"hf:{folder}"), ["{}"], [])
    found = load_file(next(Path(str(place)).glob("*.safetensors")))
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 64, 64)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    backbone = load_backbone(f"hf:{folder}")
    with torch.inference_mode():
        expected = model.get_image_features(pixels).pooler_output
        cls = backbone.tokens(pixels).prefix[:, 0]
        norm = torch.nn.functional.layer_norm(
            cls, cls.shape[-1:], found["cls_norm.weight"], found["cls_norm.bias"]
        )
        ours = norm @ found["cls_projection"].T
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_a_class_can_bring_its_own_words() -> None:
    assert label_text(ClassRow("a", 0, prompt="opening a bottle")) == "opening a bottle"
    assert label_text(ClassRow("turn-on_light", 0)) == "turn on light"


def test_template_files(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("# from the paper\na photo of {}\n\n{} now\n")
    assert read_templates(file) == ["a photo of {}", "{} now"]
    file.write_text("a photo\n")
    with pytest.raises(UsageError, match=r"expected one \{\} in 'a photo'"):
        read_templates(file)
    file.write_text("\n")
    with pytest.raises(UsageError, match="holds no text"):
        read_texts(file, "--units")
    with pytest.raises(UsageError, match="No such file"):
        read_texts(tmp_path / "gone.txt", "--units")
    file.write_bytes("\ufeff# of a spreadsheet\r\na photo of {}\r\n".encode())
    assert read_texts(file, "--prompts") == ["a photo of {}"]
    file.write_bytes("\ufeffan upright {}\r\n".encode())
    assert read_texts(file, "--prompts") == ["an upright {}"]


def test_a_model_without_a_text_tower_is_refused(model_folder: Callable[[str], Path]) -> None:
    with pytest.raises(BackboneError, match="a dinov2 has no text tower"):
        load_text_tower(f"hf:{model_folder('dinov2')}")


def test_siglip_embeds_texts_padded_to_their_full_length(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """SigLIP pads with its own token and has no mask: length matters, and it has no CLS token."""
    folder = shutil.copytree(model_folder("siglip"), tmp_path / "tiny-siglip")
    words = ["<pad>", "</s>", "<unk>", "opening", "closing", "door", "eating"]
    model = WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    tower = load_text_tower(f"hf:{folder}")
    assert tower.length == 16
    found = tower.features(["opening door", "eating"])
    plain = transformers.SiglipModel.from_pretrained(folder).eval()
    for text, ids in (("opening door", [3, 5]), ("eating", [6])):
        inputs = torch.tensor([ids + [0] * (16 - len(ids))])
        with torch.inference_mode():
            expected = plain.get_text_features(input_ids=inputs).pooler_output[0]
        place = 0 if text == "opening door" else 1
        torch.testing.assert_close(found[place], expected, atol=1e-5, rtol=1e-4)
    beside = tower.weights_beside()
    assert set(beside) == {"logit_scale", "logit_bias"}
