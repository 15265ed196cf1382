"""Order tests of finished runs, kept beside each run: <runs>/<run>/order.json."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from stepcli.probe.analysis.load_run import WEIGHTS, load_probe
from stepcli.probe.analysis.order_tests import (
    NORMAL,
    ORDERS,
    OrderTests,
    require_frame_scope,
    run_order_tests,
)
from stepcli.probe.analysis.run_samples import store_of_run, task_on_its_tokens
from stepcli.probe.data.features import task_layout
from stepcli.probe.data.placement import free_bytes, place_features
from stepcli.probe.data.tasks import Task
from stepcli.probe.runs.configurations import Configuration
from stepcli.probe.runs.predictions import read_predictions
from stepcli.probe.runs.record import RunRecord
from stepcli.probe.sweeps.session import Session
from stepcli.probe.training.process import tune_process
from stepcli.runtime.devices import resolve_device
from stepcli.runtime.errors import StoreError, UsageError
from stepcli.runtime.files import disk_errors, replace_synced
from stepcli.runtime.json_files import read_json

FILE = "order.json"
TESTS = TypeAdapter(OrderTests)


def kept_order_tests(runs: Path, record: RunRecord) -> OrderTests | None:
    """What is kept beside a run, None where it was not tested.

    Earlier versions showed the deepest layer to probes that read another one: such tests do not
    count.

    Raises:
        UsageError: the file is not what `stepcli order` writes.
    """
    path = runs / record.run / FILE
    if not path.is_file():
        return None
    layer = record.task_settings.get("layer")
    try:
        # As JSON: only there strict mode reads a list as the tuple that it was.
        kept = TESTS.validate_json(json.dumps(read_json(path, dict, links=False)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = ".".join(map(str, first["loc"])) or first["msg"]
    else:
        if layer is not None and kept.layer != layer:
            return None
        wrong = ", ".join(name for name in (NORMAL, *ORDERS) if name not in kept.orders)
    if wrong:
        raise UsageError(f"{path}: not order tests ({wrong}); delete it, run stepcli order")
    return kept


def keep_order_tests(
    found: Sequence[Configuration], store: Path | None, device: str
) -> dict[str, str]:
    """Test every run that has a probe and was not tested yet.

    Args:
        found: The runs.
        store: A store to read in place of the runs' own; of runs on several stores it serves those
            whose tokens it holds.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        Run -> why it could not be tested; the other runs are tested all the same.

    Raises:
        UsageError: this machine has no such device.
    """
    resolve_device(device)
    failed: dict[str, str] = {}
    untested = [
        (each.runs / record.run, record)
        for each in found
        for record in each.records
        if (each.runs / record.run / WEIGHTS).is_file()
        and kept_order_tests(each.runs, record) is None
    ]
    left: dict[Path, list[tuple[Path, RunRecord]]] = {}
    for folder, record in untested:
        try:
            place = store_of_run(record, store)
        except (StoreError, UsageError) as error:
            failed[record.run] = str(error)
            continue
        left.setdefault(place, []).append((folder, record))
    if store is not None and left and store not in left:
        # It serves none of the runs: a wrong place, not one of several.
        left = {store: [member for members in left.values() for member in members]}
    tune_process()
    for place, members in left.items():
        try:
            session = Session(place, members[0][0].parent, device)
            require_frame_scope(session.store.spec)
        except (StoreError, UsageError) as error:
            failed |= {record.run: str(error) for _, record in members}
            continue
        failed |= _test_on(session, members)
    return failed


def _test_on(session: Session, members: Sequence[tuple[Path, RunRecord]]) -> dict[str, str]:
    """Runs of one store; those of the same samples and classes are shown the same batches."""
    failed: dict[str, str] = {}
    together: dict[object, tuple[Task, list[tuple[Path, RunRecord]]]] = {}
    for folder, record in members:
        try:
            said = read_predictions(folder)
            task = task_on_its_tokens(session, record, said)
        except (StoreError, UsageError) as error:
            failed[record.run] = str(error)
            continue
        alike = (record.settings.task, tuple(said.samples), tuple(record.classes))
        together.setdefault(alike, (task, []))[1].append((folder, record))
    for task, same in together.values():
        try:
            _test_together(session, task, same)
        except UsageError as error:
            failed |= {record.run: str(error) for _, record in same}
    return failed


def _test_together(session: Session, task: Task, members: Sequence[tuple[Path, RunRecord]]) -> None:
    """All probes of one task see the same batches, loaded once."""
    clips = tuple(dict.fromkeys(task.clips[clip] for clip in task.shown.clip))
    free = {kind.type: free_bytes(kind) for kind in (torch.device("cpu"), session.device)}
    features, _ = place_features(session.store, clips, session.device, free)
    layout = task_layout(session.store, task)
    probes = [load_probe(folder, record, layout).to(session.device) for folder, record in members]
    for (folder, _), tests in zip(members, run_order_tests(probes, features, task), strict=True):
        with disk_errors(folder):
            content = json.dumps(TESTS.dump_python(tests, mode="json"), indent=1)
            replace_synced(folder / FILE, content.encode())
