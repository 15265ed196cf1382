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
    """Refuse names and files that do not exist before torch is loaded, which takes two seconds.

    Raises:
        UnknownName: listing the close names.
        UsageError: no root, device, tokens, sampling, views or file of that name.
    """
    from stepcli.extract.backbones import names
    from stepcli.extract.config.values import require_mirrors, require_token_names
    from stepcli.extract.datasets import registry
    from stepcli.extract.datasets.unit_files import read_texts
    from stepcli.extract.engines.several_devices import device_names
    from stepcli.runtime.code_files import is_code
    from stepcli.runtime.device_names import require_device_name, require_device_of

    if not is_code(config.dataset):
        registry.root_of(registry.find_dataset(config.dataset), config.root)
    text = () if config.text is None else (config.text,)
    for backbone in (*config.backbones, *text):
        if not is_code(backbone) and backbone not in names.known_names():
            names.source_of(backbone)
    require_device_name(config.device)
    for device in device_names(config.devices) if config.devices is not None else ():
        require_device_of("--devices", device)
    require_token_names(config.tokens)
    require_mirrors(config.mirrors)
    for flag, file in (("--prompts", config.prompts), ("--units", config.units)):
        if file is not None:
            read_texts(file, flag)
    given = config.model_fields_set
    if given & {"sampling", "short"}:  # numpy
        from stepcli.extract.decode.sampling import parse_sampling

        parse_sampling(config.sampling_rule)
    if given & {"views", "train_views"}:  # a decoder
        from stepcli.extract.decode.views import make_view_plan

        make_view_plan(config.views, config.train_views)
