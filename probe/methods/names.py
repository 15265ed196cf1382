"""Names of the built-in methods, by their file in methods/; light, so that a shell can complete
them while somebody types: the methods themselves need torch."""

NAMES: dict[str, tuple[str, ...]] = {
    "asu": ("asu",),
    "attentive": ("attentive", "attentive-deep"),
    "controls": ("first-frame", "last-frame", "middle-frame", "first-last"),
    "conv1d": ("conv1d",),
    "difference": ("difference",),
    "duration": ("duration",),
    "efficient": ("efficient",),
    "evl": ("evl",),
    "frames_linear": ("early-late", "concat", "concat-lowrank", "dct"),
    "knn": ("knn",),
    "lift": ("lift",),
    "linear": ("linear",),
    "mlp": ("mlp",),
    "prototype": ("prototype",),
    "recurrent": ("gru", "lstm"),
    "rvm": ("rvm",),
    "self_attention": ("self-attention",),
    "self_similarity": ("self-similarity",),
    "step": ("step",),
    "temporal_transformer": ("temporal-transformer",),
    "trn": ("trn",),
    "tsm": ("tsm",),
    "vcs": ("vcs",),
    "xclip": ("xclip",),
    "zero_shot": ("zero-shot",),
}


def complete_methods(incomplete: str) -> list[str]:
    """What a list of methods with commas may go on with, for a shell: the last name completed."""
    before, comma, begun = incomplete.rpartition(",")
    given = before.split(",")
    names = sorted(name for names in NAMES.values() for name in names)
    return [before + comma + name for name in names if name.startswith(begun) and name not in given]
