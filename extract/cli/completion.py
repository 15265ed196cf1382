"""Names that a shell completes while somebody types an option of the extract room."""


def complete_datasets(incomplete: str) -> list[str]:
    """Data sets that begin with some characters."""
    from stepcli.extract.datasets.registry import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def complete_backbones(incomplete: str) -> list[str]:
    """Short names of backbones that begin with some characters."""
    from stepcli.extract.backbones.names import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


COMPLETE = {"dataset": complete_datasets, "backbone": complete_backbones}
"""By name of the option."""
