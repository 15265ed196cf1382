"""A model's repository may hold Python files: none is run, and nobody is asked to allow it."""

import ast
import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import transformers

from stepcli.extract.backbones.base import BackboneError
from stepcli.extract.backbones.load import load_backbone
from stepcli.extract.pipeline.text_embeddings import load_text_tower

ROOMS = ("apply", "cache", "extract", "probe", "runtime", "examples")


def loading_calls(source: str) -> list[ast.Call]:
    """Every call of a method from_pretrained, whatever it is called on."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        call
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) == "from_pretrained"
    ]


def refuses_remote_code(call: ast.Call) -> bool:
    """Whether it passes trust_remote_code=False, literally."""
    return any(
        word.arg == "trust_remote_code"
        and isinstance(word.value, ast.Constant)
        and word.value.value is False
        for word in call.keywords
    )


def test_every_from_pretrained_refuses_remote_code(project: Path) -> None:
    """Without the keyword transformers asks on the terminal, in predict of an untrusted run too."""
    files = [
        project / "cli.py",
        *(path for room in ROOMS for path in (project / room).rglob("*.py")),
    ]
    calls = {
        f"{path.relative_to(project)}:{call.lineno}": call
        for path in files
        for call in loading_calls(path.read_text())
    }
    assert len(calls) >= 7
    assert [place for place, call in calls.items() if not refuses_remote_code(call)] == []
    # Neither is the name passed around, nor are AutoModel's other doors used.
    for path in files:
        text = path.read_text()
        assert text.count(".from_pretrained") == len(loading_calls(text)), path
        assert "trust_remote_code=True" not in text


@pytest.mark.parametrize(
    ("call", "refuses"),
    [
        ("AutoModel.from_pretrained(x, trust_remote_code=False)", True),
        ("AutoModel.from_pretrained(x)", False),
        ("getattr(t, n).from_pretrained(x, trust_remote_code=True)", False),
        ("AutoModel.from_pretrained(x, **{'trust_remote_code': False})", False),
    ],
)
def test_the_check_itself_tells_them_apart(call: str, refuses: bool) -> None:
    (found,) = loading_calls(call)
    assert refuses_remote_code(found) is refuses


def strange(folder: Path, file: str, kind: str, witness: Path, **others: str) -> None:
    """Let a JSON file of a model name code beside it."""
    path = folder / file
    values = json.loads(path.read_text()) if path.exists() else {}
    values |= {
        "auto_map": {kind: ["strange.Strange", None] if "Token" in kind else "strange.Strange"}
    }
    path.write_text(json.dumps(values | others))
    (folder / "strange.py").write_text(
        f"open({str(witness)!r}, 'w').close()\nclass Strange: pass\n"
    )


@pytest.mark.parametrize(
    ("model", "file", "kind", "others"),
    [
        ("vit", "config.json", "AutoConfig", {"model_type": "strange"}),
        ("vit", "config.json", "AutoModel", {}),
        (
            *("vit", "preprocessor_config.json", "AutoImageProcessor"),
            {"image_processor_type": "Strange"},
        ),
        ("videomae", "config.json", "AutoConfig", {"model_type": "strange"}),
        (
            *("videomae", "preprocessor_config.json", "AutoImageProcessor"),
            {"image_processor_type": "Strange"},
        ),
        ("clip", "tokenizer_config.json", "AutoTokenizer", {"tokenizer_class": "Strange"}),
        ("clip", "config.json", "AutoConfig", {"model_type": "strange"}),
    ],
)
def test_code_of_a_model_is_neither_run_nor_asked_about(
    model_folder: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    file: str,
    kind: str,
    others: dict[str, str],
) -> None:
    folder, witness = tmp_path / "model", tmp_path / "was-run"
    shutil.copytree(model_folder(model), folder)
    strange(folder, file, kind, witness, **others)
    answers = io.StringIO("y\n")
    monkeypatch.setattr("sys.stdin", answers)
    load = load_text_tower if model == "clip" else load_backbone
    if "model_type" in others:  # unknown without its code
        with pytest.raises(BackboneError) as caught:
            load(f"hf:{folder}")
        assert "\n" not in str(caught.value)
    else:
        with suppress(BackboneError):  # where transformers takes its own class, that is right too
            load(f"hf:{folder}")
    assert answers.read() == "y\n"
    assert "trust" not in capsys.readouterr().out
    assert not witness.exists()


def test_transformers_would_have_asked(
    model_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the folders above are dangerous at all."""
    folder, witness = tmp_path / "model", tmp_path / "was-run"
    shutil.copytree(model_folder("vit"), folder)
    strange(folder, "config.json", "AutoConfig", witness, model_type="strange")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(Exception, match=r"."):
        transformers.AutoConfig.from_pretrained(folder)
    assert witness.exists()
