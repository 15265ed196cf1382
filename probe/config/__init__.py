"""Settings of the probe room: of a task, of training, of a run, of a sweep."""

from stepcli.probe.config.run import CODE_SCHEMA, RunConfig, without_paths
from stepcli.probe.config.sweep import (
    MOST_RUNS,
    Scalar,
    Search,
    SliceMinimum,
    SweepConfig,
    slice_minimum,
)
from stepcli.probe.config.task import GROUP_SPLIT, TaskConfig, TaskName
from stepcli.probe.config.training import DataConfig, OptimConfig, Rate

__all__ = [
    "CODE_SCHEMA",
    "GROUP_SPLIT",
    "MOST_RUNS",
    "DataConfig",
    "OptimConfig",
    "Rate",
    "RunConfig",
    "Scalar",
    "Search",
    "SliceMinimum",
    "SweepConfig",
    "TaskConfig",
    "TaskName",
    "slice_minimum",
    "without_paths",
]
