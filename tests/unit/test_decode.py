"""One image file to pixels, against PIL's and torchvision's own ways."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from mergesuite.data.decode import Cut, check, picture
from mergesuite.errors import UserError

# The reference is torchvision's decoder as long as it is there: it is to be replaced by TorchCodec.
decoder = pytest.mark.filterwarnings("ignore:The image decoding")

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def saved(file: Path, image: Image.Image, **options: object) -> Path:
    image.save(file, **options)
    return file


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_a_colour_png_is_what_was_written(tmp_path: Path):
    file = saved(tmp_path / "a.png", Image.fromarray(COLOUR))
    assert np.array_equal(pixels(picture(file)), COLOUR)


@decoder
def test_a_jpeg_is_what_torchvision_decodes(tmp_path: Path):
    file = saved(tmp_path / "a.jpg", Image.fromarray(COLOUR), quality=92)
    theirs = decode_image(read_file(str(file)), ImageReadMode.RGB).permute(1, 2, 0).numpy()
    assert np.abs(pixels(picture(file)).astype(int) - theirs).max() <= 2  # two builds of libjpeg


def test_grey_is_three_equal_channels(tmp_path: Path):
    file = saved(tmp_path / "a.jpg", Image.fromarray(COLOUR[..., 0]))
    found = pixels(picture(file))
    assert found.shape == (40, 60, 3)
    assert np.array_equal(found[..., 0], np.asarray(Image.open(file)))
    assert np.array_equal(found[..., 0], found[..., 2])


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path):
    ramp = np.linspace(0, 65535, 2400).astype(np.uint16).reshape(40, 60)
    file = saved(tmp_path / "a.png", Image.fromarray(ramp))
    found = pixels(picture(file))[..., 1]
    assert np.array_equal(found, np.round(ramp / 257).astype(np.uint8))
    assert len(np.unique(found)) == 256


def test_cmyk_is_converted_as_pil_does(tmp_path: Path):
    file = saved(tmp_path / "a.jpg", Image.fromarray(COLOUR).convert("CMYK"))
    with Image.open(file) as image:
        assert image.mode == "CMYK"
        assert np.array_equal(pixels(picture(file)), np.asarray(image.convert("RGB")))


@decoder
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_obeyed_as_torchvision_does(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path / "a.jpg", Image.fromarray(COLOUR), exif=exif, quality=95)
    turned = decode_image(str(file), ImageReadMode.RGB, apply_exif_orientation=True)
    found = torch.from_numpy(pixels(picture(file)).copy()).permute(2, 0, 1)
    assert found.shape == turned.shape
    assert (found.int() - turned.int()).abs().max() <= 2


def test_transparency_is_dropped(tmp_path: Path):
    alpha = np.concatenate([COLOUR, np.zeros((40, 60, 1), np.uint8)], 2)
    assert np.array_equal(
        pixels(picture(saved(tmp_path / "a.png", Image.fromarray(alpha)))), COLOUR
    )
    file = saved(tmp_path / "b.png", Image.fromarray(COLOUR).quantize(16), transparency=b"\0\7")
    assert pixels(picture(file)).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("text.png", lambda f: f.write_text("%!PS-Adobe-3.0 EPSF-3.0")),
        ("empty.jpg", lambda f: f.write_bytes(b"")),
        ("gif.png", lambda f: Image.fromarray(COLOUR).save(f, format="GIF")),
        ("tiff.jpg", lambda f: Image.fromarray(COLOUR).save(f, format="TIFF")),
    ],
)
def test_other_formats_are_refused_whatever_they_are_called(tmp_path: Path, name: str, write):
    write(tmp_path / name)
    for way in (picture, check):
        with pytest.raises(UserError, match=rf"{name} should be an image \(BMP, JPEG, PNG, WEBP\)"):
            way(tmp_path / name)


def test_a_cut_off_image_is_an_error_and_no_grey_half(tmp_path: Path):
    file = saved(tmp_path / "a.jpg", Image.fromarray(COLOUR))
    file.write_bytes(file.read_bytes()[:-200])
    check(file)  # its header is whole
    with pytest.raises(UserError, match=r"a.jpg should be an image .*truncated"):
        picture(file)


def test_an_image_that_unpacks_to_a_billion_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    file = saved(tmp_path / "a.png", Image.fromarray(COLOUR))
    with pytest.raises(UserError, match="decompression bomb"):
        picture(file)


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (256, 256), (90, 60)])
def test_a_whole_image_is_cut_as_published_weights_ask(size: tuple[int, int]):
    image = Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8))
    preset = ResNet50_Weights.IMAGENET1K_V1.transforms()
    theirs = preset(image)
    ours = v2.functional.pil_to_tensor(Cut(256, 224, "bilinear").whole(image)).float() / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (preset.mean, preset.std))
    torch.testing.assert_close((ours - mean) / std, theirs, rtol=0, atol=1e-6)


def test_a_part_is_torchvisions_resized_crop():
    image = Image.fromarray(COLOUR)
    found = Cut(32, 16, "bicubic").part(image, (3, 5, 20, 30))
    theirs = v2.functional.resized_crop(image, 3, 5, 20, 30, [16, 16], v2.InterpolationMode.BICUBIC)
    assert np.array_equal(np.asarray(found), np.asarray(theirs))


def test_the_number_of_pixels_is_known_before_any_is_decoded(tmp_path: Path):
    chunk = struct.pack(">4sIIBBBBB", b"IHDR", 20_000, 6_000, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"\0\0\0\x08IDAT")
    for way in (picture, check):
        with pytest.raises(UserError, match=r"20000 x 6000 pixels, 100,000,000 at most"):
            way(tmp_path / "a.png")


def test_a_thread_of_an_image_is_not_scaled_to_a_carpet():
    thread = Image.fromarray(np.zeros((1, 60_000, 3), np.uint8))
    with pytest.raises(UserError, match="60000 x 1 pixels"):
        Cut(256, 224).whole(thread)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="no file"):
        check(tmp_path / "a.png")
