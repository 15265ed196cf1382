"""Names of data sets and backbones on the command line: completed, and refused at once."""

from stepcli.extract.config import ExtractConfig


def complete_datasets(incomplete: str) -> list[str]:
    """Data sets that begin with some characters."""
    from stepcli.extract.datasets.registry import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def complete_backbones(incomplete: str) -> list[str]:
    """Short names of backbones that begin with some characters; of several, a,b, the last one."""
    from stepcli.extract.backbones.names import known_names

    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in known_names() if name.startswith(begun)]


COMPLETE = {"dataset": complete_datasets, "backbone": complete_backbones}
"""By name of the option."""


def refuse_unknown(config: ExtractConfig) -> None:
    """Refuse a data set, root, backbone, device or tokens that do not exist, before torch is
    loaded: two seconds.

    Raises:
        UnknownName: listing the close names.
        UsageError: no root, or no such device or tokens.
    """
    from stepcli.extract.backbones import names
    from stepcli.extract.config.values import require_token_names
    from stepcli.extract.datasets import registry
    from stepcli.runtime.code_files import is_code
    from stepcli.runtime.device_names import require_device_name

    if not is_code(config.dataset):
        registry.root_of(registry.find_dataset(config.dataset), config.root)
    for backbone in config.backbones:
        if not is_code(backbone) and backbone not in names.known_names():
            names.source_of(backbone)
    require_device_name(config.device)
    require_token_names(config.tokens)
