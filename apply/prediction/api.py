"""For notebooks: extract or open a store, train on it, load a trained probe, ask it about videos.

docs/notebook.py goes the whole way.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepcli.apply.prediction.probes import Applied
from stepcli.cache.store.store import open_store
from stepcli.runtime.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from stepcli.apply.prediction.predict import PredictionJson
    from stepcli.cache.store.store import Store
    from stepcli.probe.runs.record import RunRecord

__all__ = ["extract", "load_probe", "open_store", "predict", "train"]


def extract(dataset: str, root: str | Path | None = None, **settings: Any) -> "Store":
    """Extract what is left of a data set; the same call resumes.

    Args:
        dataset: Name, or `file.py:function`.
        root: Its folder or file.
        settings: Fields of `stepcli.extract.config.ExtractConfig`, e.g. frames=8; `options` are
            the data set's own.

    Returns:
        The store. A clip that could not be read is quarantined there, see `store.quarantined()`.

    Raises:
        UsageError: a value does not fit, or the data set or backbone cannot be used.
        SpecMismatch: the store was written with other settings.
    """
    from stepcli.extract.config import ExtractConfig
    from stepcli.extract.engines.run import run_extract
    from stepcli.runtime.settings import validated

    if unknown := settings.keys() - ExtractConfig.model_fields.keys():
        raise UnknownName("setting of extract", min(unknown), ExtractConfig.model_fields)
    if settings.get("devices") is not None:
        raise UsageError("devices is for the command line; call extract with one device")
    config = validated(ExtractConfig, {"dataset": dataset, "root": root, **settings})
    _, summary = run_extract(config)
    return open_store(summary["store"])


def train(
    store: str | Path,
    method: str,
    *,
    runs: str | Path = "runs",
    seeds: int = 1,
    task: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
    device: str = "auto",
    **options: Any,
) -> "list[RunRecord]":
    """Train a method on a store; what is done already is not done again.

    Args:
        store: Its folder.
        method: One of `stepcli methods`.
        runs: Folder of the runs; made when missing.
        seeds: Seeds 0, 1, ...
        task: Fields of `stepcli.probe.config.TaskConfig`, e.g. {"name": "arrow"}.
        recipe: Fields of `OptimConfig`, e.g. {"lr": 3e-4}.
        shared: Fields of `DataConfig`, e.g. {"epochs": 30}.
        device: auto, cpu, cuda or cuda:1.
        options: Of the method, e.g. heads=12.

    Returns:
        The record of each seed, and of each official split or group that the task names, as its
        run.json has it; `run` names the folder.

    Raises:
        StoreNotFound: there is no store.
        UsageError: a value does not fit.
        UnknownName: no such method or option.
    """
    from stepcli.probe.config import DataConfig, TaskConfig
    from stepcli.probe.sweeps.expand import checked, run_configs
    from stepcli.probe.sweeps.session import Session

    configs = run_configs(
        method,
        [options],
        recipe or {},
        checked(TaskConfig, **(task or {})),
        checked(DataConfig, **(shared or {})),
        range(seeds),
    )
    session = Session(Path(store), Path(runs), device)
    return session.run(session.for_each_part(configs))


def load_probe(*folders: str | Path, device: str = "auto", backbone: str | None = None) -> Applied:
    """Trained probes that read the same tokens, with their backbone; for `predict`.

    Raises:
        UsageError: no folder, or one that is no run with a probe.
        SpecMismatch: they read different tokens, or the backbone is not theirs.
    """
    if not folders:
        raise UsageError("load_probe needs the folder of a trained probe, runs/<run>")
    return Applied([Path(folder) for folder in folders], device, backbone)


def predict(
    applied: Applied, videos: str | Path | Sequence[str | Path], top: int = 5, **options: Any
) -> "list[PredictionJson]":
    """Answers on videos, as `stepcli predict --format json` prints them.

    Args:
        applied: From `load_probe`.
        videos: A file or several.
        top: Classes of each answer.
        options: `window`, `stride` (seconds) and `risk` of
            `stepcli.apply.prediction.predict.predict`.

    Raises:
        VideoError: a video cannot be read.
    """
    from stepcli.apply.prediction.predict import predict as ask

    paths = [videos] if isinstance(videos, str | Path) else videos
    return [each.record(top) for path in paths for each in ask(applied, Path(path), **options)]
