"""One command's worth of probes: from settings and a store to finished runs."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import typer
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from stepcli.cache.errors import UnknownName, UsageError
from stepcli.cache.store import open_store
from stepcli.probe.config import Pass, Recipe, RunConfig, TaskConfig
from stepcli.probe.data import Features, layout_of
from stepcli.probe.memory import keep_large_blocks
from stepcli.probe.registry import methods, parse_options
from stepcli.probe.results import Source, finished, write_run
from stepcli.probe.splits import labelled_clips
from stepcli.probe.tasks import make_task
from stepcli.probe.train import build_probe, train

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], **values: Any) -> Model:
    """Build a config, with a one-line error where a value does not fit.

    Raises:
        UsageError: naming the option, what was expected and what came.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise UsageError(f"--{name} {first['input']!r}: {first['msg']}") from None


def expand(
    names: Sequence[str],
    settings: Sequence[str],
    task: TaskConfig,
    recipe: Recipe,
    shared: Pass,
    seeds: Iterable[int],
) -> list[RunConfig]:
    """One config a method and seed.

    Args:
        names: Methods.
        settings: Texts "option=value"; each goes to those of the methods that have the option.
        task: The task of all.
        recipe: The recipe of all.
        shared: Epochs, batch size, data order.
        seeds: Seeds of each method.

    Raises:
        UsageError: a setting is not "option=value", or a value does not fit.
        UnknownName: no such method, or no method of the list has the option.
    """
    infos = [methods().get(name) for name in names]
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r}: expected option=value, e.g. --set heads=12")
        known = {option for info in infos for option in info.options.model_fields}
        if name not in known:
            raise UnknownName(f"option of {', '.join(names)}", name, known)
        values[name] = value
    configs = []
    for info in infos:
        own = {name: v for name, v in values.items() if name in info.options.model_fields}
        options = parse_options(info, own).model_dump(mode="json")
        configs += [
            RunConfig(
                method=info.name,
                options=options,
                task=task,
                recipe=recipe,
                shared=shared,
                seed=seed,
            )
            for seed in seeds
        ]
    return configs


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU where there is one.

    Raises:
        UsageError: this machine has no such device.
    """
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(found) > 1 else "cpu")
    if name not in found and not (name == "cuda" and len(found) > 1):
        raise UsageError(f"--device {name}: this machine has {', '.join(found)}; use one of these")
    return torch.device(name)


def train_and_record(
    store_path: Path, runs: Path, configs: Sequence[RunConfig], device_name: str
) -> None:
    """Train what is not done yet in one pass over the store, and write each run.

    All configs share their task and their pass. Progress, warnings and results go to the terminal.
    """
    keep_large_blocks()
    device = choose_device(device_name)
    store = open_store(store_path)
    names = {config.run_id(store.fingerprint): config for config in configs}
    done = set(finished(runs, names))
    if done:
        typer.echo(f"{len(done)} of {len(names)} runs are done already in {runs}")
    left = [config for name, config in names.items() if name not in done]
    if not left:
        return
    first = left[0]
    table = labelled_clips(store, first.task.train_split, first.task.test_split)
    task = make_task(first.task, store.spec, table)
    for warning in task.warnings:
        typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)
    # What cannot be built must be known before minutes of reading.
    for config in {(c.method, repr(c.options)): c for c in left}.values():
        build_probe(config, layout_of(store, task), len(task.classes))
    features = Features.load(store, task, device)
    source = Source(store.path, store.dataset, store.spec.backbone, store.fingerprint)
    with tqdm(
        total=first.shared.epochs,
        desc=f"{len(left)} probes",
        unit="epoch",
        file=sys.stderr,
        # Plain lines where nobody watches: one every ten seconds.
        mininterval=0.1 if sys.stderr.isatty() else 10.0,
    ) as bar:

        def progress(epochs: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update(epochs - bar.n)

        trained = train(features, task, left, progress)
    for probe in trained:
        record = write_run(runs, probe, task, source)
        typer.echo(
            f"{record['method']:<16} seed {record['seed']}  top-1 {100 * record['top1']:5.1f} %  "
            f"{runs / record['run']}"
        )
