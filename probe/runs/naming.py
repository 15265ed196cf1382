"""Names of runs' folders: readable, and never two runs under one name.

A name ends with six digits of the run's identity. Where another run has that name already, it ends
with all digits. Folders that earlier versions named by the identity alone are found as they are.
"""

from collections.abc import Callable
from pathlib import Path

from stepcli.probe.config import RunConfig
from stepcli.probe.runs.record import FILE, is_done, read_run


class RunNames:
    """Names of the runs in one folder, each decided once.

    Args:
        runs: The folder.
        identity_of: What a config's result depends on beside the config.
        earlier_of: The same of versions that did not record a store's tables; None: as now.
        fits: Whether a run of such a version, of that config, is of the tables as they are now.
    """

    def __init__(
        self,
        runs: Path,
        identity_of: Callable[[RunConfig], str],
        earlier_of: Callable[[RunConfig], str] | None = None,
        fits: Callable[[RunConfig, str], bool] = lambda config, run: True,
    ) -> None:
        self._runs = runs
        self._identity_of = identity_of
        self._earlier_of = earlier_of or identity_of
        self._fits = fits
        self._names: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        """Name -> the run that it was given to."""

    def run_id(self, config: RunConfig) -> str:
        """The identity of a config's run on this store."""
        return config.run_id(self._identity_of(config))

    def name(self, config: RunConfig) -> str:
        """The folder of a config's run: where it is done already, or where it will be written."""
        run_id = self.run_id(config)
        if run_id not in self._names:
            chosen = self._choose(config, run_id)
            self._names[run_id] = chosen
            self._taken[chosen] = run_id
        return self._names[run_id]

    def _choose(self, config: RunConfig, run_id: str) -> str:
        if is_done(self._runs, run_id):
            return run_id
        short = config.run_name(run_id)
        owner = self._taken.get(short) or read_identity(self._runs, short)
        if owner != run_id and (earlier := self._earlier(config)):
            return earlier
        return short if owner in ("", run_id) else config.run_name(run_id, len(run_id))

    def _earlier(self, config: RunConfig) -> str:
        """The folder of the run that an earlier version trained on the same tables; or ""."""
        beside = self._earlier_of(config)
        for run_id in dict.fromkeys((config.run_id(beside), config.earlier_run_id(beside))):
            names = (run_id, config.run_name(run_id), config.run_name(run_id, len(run_id)))
            for name in dict.fromkeys(names):
                if read_identity(self._runs, name) == run_id and self._fits(config, name):
                    return name
        return ""


def read_identity(runs: Path, run: str) -> str:
    """The run in a folder (`RunConfig.run_id`); "" where it is not there.

    Raises:
        UsageError: its run.json cannot be read.
    """
    if not is_done(runs, run):
        return ""
    record = read_run(runs / run / FILE)
    return record.identity or record.run
