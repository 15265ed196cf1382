"""A wrong value for any option of any command is refused before torch, transformers or pyarrow.

Every command with every option that takes a value, one after the other in one process that cannot
import these and cannot start another. What is not refused comes as far as such an import; it is
listed here with the reason.
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

OLD = Path(__file__).parent / "compat" / "d66560d"
RUN = "runs/step-5ace68ad69f863ab"
VIDEOS = "--dataset folder --root clips --backbone dinov2-base"
USUAL = {
    "plan": VIDEOS,
    "extract": VIDEOS,
    "probe": "--method step --store store",
    "sweep": "--method step --store store",
    "chirality": "pairs.csv --store store",
    "picture": "x --store store",
    "predict": RUN,
    "push": f"{RUN} --to a",
    "store show": "x --store store",
    "store labels": "--store store --to labels.csv",
    "store export": "--store nowhere",
    "store rm": "--dry-run",
    "reproduce": "step-hri30",
    "pull": "a",
    "results import": "file.csv",
}
"""Words of a command beside the option that is tried."""
WRITTEN = "where something is written: any name will do"
SPLITS = "the store's clips say which splits there are: read with pyarrow, without torch"
CLIPS = "the store's parts say which clips there are: read with pyarrow, without torch"
RAY, HUB = "of a Ray cluster: asked with --engine ray", "of the hub: asked with --hub"
LOOKED = "a folder in which something is looked for: any name will do"
LATER = {
    "demo --out": WRITTEN,
    "doctor --stores": WRITTEN,
    "plan --stores": WRITTEN,
    "extract --store": WRITTEN,
    "probe --runs": WRITTEN,
    "sweep --runs": WRITTEN,
    "corruptions --out": WRITTEN,
    "picture --out": WRITTEN,
    "report --out": WRITTEN,
    "push --to": WRITTEN,
    "pull --out": WRITTEN,
    "store labels --to": WRITTEN,
    "store show clip": CLIPS,
    "picture clip": CLIPS,
    "predict --video": "a video that cannot be read costs its own answer alone",
    **{
        f"{command} --{side}-split": SPLITS
        for command in ("probe", "sweep", "chirality")
        for side in ("train", "test")
    },
    "probe --split": SPLITS,
    "sweep --split": SPLITS,
    "picture --videos": LOOKED,
    "report --videos": LOOKED,
    "report --store": "a report without its store shows everything else",
    "extract --append": "a name of the new clips: any will do",
    "extract --address": RAY,
    "sweep --address": RAY,
    "push --endpoint": HUB,
    "pull --endpoint": HUB,
    "pull --revision": HUB,
    "store list folder": "a list of what the folder holds",
    "store rm store": "what is removed must be a store and nothing else",
}
"""Options whose wrong value is not known at once."""
TRY = """
import contextlib, io, subprocess, sys
from pathlib import Path

import typer

from stepcli.cli import app

class TooHeavy(BaseException):
    pass

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise TooHeavy(name)

started = subprocess.Popen

def refuse(words, *args, **settings):
    if words[0] == "uname":  # of Python's own platform module
        return started(words, *args, **settings)
    raise TooHeavy("a process")

def leaves(group, path=()):
    for name, command in group.commands.items():
        command = getattr(command, "load", lambda: command)()
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command

sys.meta_path.insert(0, Refuse())
subprocess.Popen = refuse
number = 0
for path, command in leaves(typer.main.get_command(app)):
    for each in command.params:
        option = each.opts[0] if each.param_type_name == "option" else each.name
        if getattr(each, "is_flag", False) or option == "--help":
            continue
        name = " ".join((*path, option))
        if {only!r} and name not in {only!r}:
            continue
        number += 1
        wrong = f"nope{{number}}"
        usual = {usual!r}.get(" ".join(path), "").split()
        if option in usual:
            at = usual.index(option)
            del usual[at : at + 2]
        if option.startswith("--"):
            words = [*path, *usual, option, wrong]
        else:
            options = usual if usual[:1] and usual[0].startswith("-") else usual[1:]
            words = [*path, wrong, *options]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                app(words)
                code = 0
            except SystemExit as end:
                code = end.code
            except TooHeavy as error:
                code = f"loads {{error}}"
        print((name, code, said.getvalue()))
"""


def tried(folder: Path, heavy: set[str], only: set[str] | None = None) -> dict[str, int | str]:
    """Command with option -> its exit code with a wrong value, or "loads torch"."""
    for name, source in (("store", "stores/zarr"), ("runs", "runs"), ("clips", "clips")):
        if not (folder / name).exists():
            shutil.copytree(OLD / source, folder / name)
    (folder / "pairs.csv").write_text("label,partner\nleft,right\n")
    (folder / "a").mkdir(exist_ok=True)
    code = TRY.format(heavy=heavy, usual=USUAL, only=only)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: end for name, end, _ in map(ast.literal_eval, done.stdout.splitlines())}


def test_a_wrong_value_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    found = tried(tmp_path, {"torch", "transformers", "pyarrow"})
    assert len(found) > 250
    late = {name: end for name, end in found.items() if str(end).startswith("loads")}
    assert sorted(late) == sorted(LATER)
    assert {end for end in found.values() if end not in late.values()} <= {0, 1, 2, 3}


def test_splits_and_clips_that_a_store_does_not_have_are_refused_without_torch(
    tmp_path: Path,
) -> None:
    asked = {
        name for name, why in LATER.items() if why in (SPLITS, CLIPS) and "chirality" not in name
    }
    found = tried(tmp_path, {"torch", "transformers"}, asked)
    assert set(found) == asked
    assert set(found.values()) <= {1, 2}


def test_an_unknown_option_of_a_method_and_values_of_a_sweep_are_refused(tmp_path: Path) -> None:
    """What the walk above does not try: values that have the form of right ones."""
    commands = {
        "probe --method step --set hedas=4": "did you mean heads",
        "probe --method step --set heads=four": "valid integer",
        "probe --method linear,step --set heads=0": "greater than or equal to 1",
        "probe --method step --set preset=papre-count": "did you mean paper-count",
        "sweep --method step --set hedas=4,8": "did you mean heads",
        "sweep --method step --set heads=4,x": "valid integer",
        "sweep --method step --lr abc": "valid number",
        "sweep --method step --lr 1e-3,-1": "greater than 0",
        "sweep --method step --epochs x": "as an integer",
        "sweep --method step --search optuna --lr 1e-2..1e-5": "must be below",
        "sweep --method step --search optuna --lr 1e-5..1e-2 --set heads=4,x": "valid integer",
    }
    code = (
        "import contextlib, io, sys\n"
        "from stepcli.cli import app\n"
        f"for words in {list(commands)!r}:\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "        try:\n"
        "            app(words.split())\n"
        "        except SystemExit as end:\n"
        "            code = end.code\n"
        "    loaded = {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "    print((code, loaded or (), ' '.join(said.getvalue().replace('│', ' ').split())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    for (command, expected), line in zip(commands.items(), done.stdout.splitlines(), strict=True):
        end, loaded, said = ast.literal_eval(line)
        assert (end, loaded) == (2, ()), (command, said)
        assert expected in said, command
