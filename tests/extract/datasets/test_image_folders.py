"""Folders of frames: which files are frames, in what order, and what their pixels are."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stepcli.extract.datasets.images import frame_files
from stepcli.extract.decode.clip_bounds import ClipBounds
from stepcli.extract.decode.image_file import read_image
from stepcli.extract.decode.image_folder import read_image_folder
from stepcli.runtime.errors import VideoError

RAMP = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def frames(folder: Path) -> list[str]:
    return [path.name for path in frame_files(folder)]


def saved(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (("._1.jpg", ".DS_Store", "Thumbs.db", ".3.jpg"), "hidden"),
        (("1.png", "2.png", "10.png"), "twins of another kind"),
        (("1.png", "2.png"), "some twins"),
        (("1.JPG", "2.jpeg"), "twins of the same kind"),
        (("thumb.jpg", "cover.jpg", "folder.jpg", "Thumbnail-1.png"), "covers"),
        (("thumb_1.jpg", "thumb_2.jpg", "1-preview.jpg", "10_thumb.jpg"), "a thumbnail per frame"),
        (("1.txt", "frames.csv", "video.mp4"), "other files"),
        (("mask.png", "calibration.tiff"), "images of another kind and name"),
    ],
)
def test_frames_are_the_images_of_one_kind(
    others: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "10.jpg", *others)
    assert frames(tmp_path) == ["1.jpg", "2.jpg", "10.jpg"], reason


def test_the_kind_with_the_most_files_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "1.png", "2.png", "3.png")
    assert frames(tmp_path) == ["1.png", "2.png", "3.png"]


def test_a_folder_of_nothing_but_covers_holds_those(tmp_path: Path) -> None:
    assert frames(touch(tmp_path, "cover_2.jpg", "cover_10.jpg")) == ["cover_2.jpg", "cover_10.jpg"]


@pytest.mark.parametrize(
    "names",
    [
        ["img_9.jpg", "img_10.jpg", "img_100.jpg"],
        ["00001.jpg", "00002.jpg", "00010.jpg"],
        ["v2_take1_f2.png", "v2_take1_f11.png", "v2_take2_f1.png"],
        ["frame9.TIFF", "frame10.tif"],
        ["0001.webp", "0002.webp"],
        ["clip.1.bmp", "clip.2.bmp", "clip.10.bmp"],
    ],
)
def test_the_order_is_that_of_the_numbers(names: list[str], tmp_path: Path) -> None:
    assert frames(touch(tmp_path, *reversed(names))) == names


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["img_1.jpg", "img_2.jpg", "flow_x_1.jpg", "flow_x_2.jpg"], "several sequences"),
        (["1.jpg", "01.jpg"], "several sequences"),
        (["1.jpg", "2.jpg", "3.png"], "holds 2 JPEG frames, and 1 of PNG with other numbers"),
        (["notes.txt", "._1.jpg"], "a folder without images"),
    ],
)
def test_what_leaves_the_frames_open_is_refused(
    names: list[str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(VideoError, match=reason):
        frame_files(touch(tmp_path, *names))


@pytest.mark.parametrize(
    ("name", "dtype"), [("1.png", "<u2"), ("1.tiff", "<u2"), ("2.tiff", ">u2")]
)
def test_grey_of_16_bits_keeps_its_levels(name: str, dtype: str, tmp_path: Path) -> None:
    levels = (RAMP.astype(np.uint16) * 257 * 10).astype(dtype)
    image = read_image(saved(tmp_path / name, levels))
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.repeat((levels >> 8)[..., None], 3, axis=2))


def test_grey_of_12_bits_fills_the_range(tmp_path: Path) -> None:
    """Written by hand: Pillow reads such TIFFs and does not write them."""
    first, second = 0x123, 0xFED
    packed = bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(packed)))
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\3\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in tags
    )
    head = b"II*\0" + (12).to_bytes(4, "little") + packed + b"\0"
    path = tmp_path / "12.tif"
    path.write_bytes(head + len(tags).to_bytes(2, "little") + entries + bytes(4))
    assert read_image(path)[0, :, 0].tolist() == [first >> 4, second >> 4]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.ones((2, 2), np.float32), "floating-point pixels"),
        (np.full((2, 2), 70_000, np.int32), "grey levels of 32 bits"),
        (np.full((2, 2), 7, np.int32), "grey levels of 32 bits"),
    ],
)
def test_levels_without_a_range_are_refused(
    pixels: np.ndarray, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(VideoError, match=reason):
        read_image(saved(tmp_path / "1.tiff", pixels))


TURNED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_obeyed(orientation: int, ending: str, tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16], pixels[:8, 16:], pixels[8:, :16] = 230, 150, 70
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(tmp_path / f"1.{ending}", pixels, exif=exif.tobytes()))
    expected = TURNED[orientation](pixels)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 8


def test_16_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = RAMP.astype(np.uint16) * 2560
    image = read_image(saved(tmp_path / "1.png", levels, exif=exif.tobytes()))
    assert np.array_equal(image[..., 0], np.rot90(levels >> 8, -1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    """Opaque or not: transparency is not looked at."""
    grey = Image.fromarray(np.repeat(np.array([0, 255], np.uint8), 8).reshape(1, 16).repeat(8, 0))
    picture = grey.convert("RGB").convert(mode)
    path = tmp_path / f"1.{'jpg' if mode in ('CMYK', 'YCbCr') else 'png'}"
    options = {"transparency": bytes([0, 128])} if mode == "P" else {}
    picture.save(path, **options)
    image = read_image(path)
    assert image.shape == (8, 16, 3)
    assert np.abs(image[:, :8].astype(int)).max() <= 2
    assert image[:, 8:].min() >= 250


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PDF", "ICO", "TGA", "PPM"])
def test_other_formats_are_not_opened_whatever_their_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, format=kind)
    with pytest.raises(VideoError, match="no readable image"):
        read_image(path)


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "1.png", np.zeros((40, 40), np.uint8))
    for limit in (1000, 700):  # Pillow warns beyond the limit, and raises beyond twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(VideoError, match="decompression bomb"):
            read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert read_image(path).shape == (40, 40, 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp", "bmp"])
def test_damaged_images_say_so(ending: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    path = saved(tmp_path / f"1.{ending}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(VideoError, match=rf"damaged: 1.{ending} is no readable image"):
        read_image(path)


def test_a_frame_whose_name_is_not_utf8_is_named_so_that_it_can_be_stored(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xe91.jpg"
    os.close(os.open(path, os.O_CREAT))
    with pytest.raises(VideoError, match=r"damaged: \\xe91.jpg") as caught:
        read_image_folder(tmp_path, 1.0, ClipBounds(), lambda n: [0], lambda image: image)
    str(caught.value).encode()


def test_a_folder_of_turned_frames_of_16_bits_as_a_clip(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    for number in (1, 2, 10):
        levels = np.full((8, 6), number * 2560, np.uint16)
        saved(tmp_path / f"{number}.png", levels, exif=exif.tobytes())
        (tmp_path / f"._{number}.png").write_bytes(b"Mac OS X")
    clip = read_image_folder(tmp_path, 2.0, ClipBounds(), lambda n: list(range(n)), lambda i: i)
    assert [int(image[0, 0, 0]) for image in clip.images] == [10, 20, 100]
    assert clip.pts_seconds == [0.0, 0.5, 1.0]
    assert (clip.frame_height, clip.frame_width) == (6, 8)
