"""Every format against an independent reader: what tifffile wrote is read by Pillow, and the other way round."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from vagan.data.picture import decode_picture, picture_format

ROWS, COLUMNS = 9, 14
GREY = (np.add.outer(np.arange(ROWS) * 17, np.arange(COLUMNS) * 5) % 251).astype(np.uint8)
RGB = np.stack([GREY, 250 - GREY, GREY // 2], axis=-1)


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def pillow(image, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def by_pillow(content, mode=None):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert(mode) if mode else image)


ORIENTED = {1: GREY, 2: np.fliplr(GREY), 3: np.rot90(GREY, 2), 4: np.flipud(GREY)}
ORIENTED |= {5: GREY.T, 6: np.rot90(GREY, 1), 7: np.rot90(GREY.T, 2), 8: np.rot90(GREY, -1)}
"""How an upright image is stored for each value of the orientation tag."""


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_the_orientation_tag_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(ORIENTED[orientation])
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    content = pillow(stored, format=kind, **options, **({"quality": 100} if kind == "JPEG" else {}))
    assert picture_format(content) == kind
    found = decode_picture(content).astype(int)
    assert found.shape == GREY.shape
    assert np.abs(found - GREY).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_tiff_codecs_keep_every_value(compression, dtype):
    pixels = (GREY.astype(np.float64) * 7.5 - 300 * np.issubdtype(dtype, np.signedinteger)).astype(dtype)
    assert np.array_equal(decode_picture(tiff(pixels, compression=compression)), pixels)


def test_a_tiff_compressed_as_jpeg_is_rgb():
    content = tiff(np.repeat(np.repeat(RGB, 16, 0), 16, 1), compression="jpeg", photometric="rgb")
    ours, theirs = decode_picture(content).astype(int), by_pillow(content, "RGB").astype(int)
    assert np.abs(ours - theirs).max() <= 4


@pytest.mark.parametrize("bits", [1, 8])
def test_white_is_zero_is_inverted(bits):
    if bits == 1:
        content = pillow(Image.fromarray(GREY > 100), format="TIFF", compression="group4")
        assert np.array_equal(decode_picture(content), by_pillow(content, "L"))
        return
    content = tiff(255 - GREY, photometric="miniswhite")
    assert np.array_equal(decode_picture(content), GREY)


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_a_palette_is_looked_up(kind):
    image = Image.fromarray(GREY % 16, mode="P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 3 * 256, dtype=np.uint8).tobytes())
    content = pillow(image, format=kind)
    assert np.array_equal(decode_picture(content), by_pillow(content, "RGB"))


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb(kind):
    content = pillow(Image.fromarray(np.repeat(np.repeat(RGB, 8, 0), 8, 1)).convert("CMYK"), format=kind)
    ours, theirs = decode_picture(content).astype(int), by_pillow(content, "RGB").astype(int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("pixels", [RGB, RGB[:, :3]], ids=["wide", "of three columns"])
def test_planar_and_interleaved_layouts_are_the_same_picture(pixels):
    planar = tiff(np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    for content in (planar, tiff(pixels, photometric="rgb")):
        assert np.array_equal(decode_picture(content), pixels)
    deep = RGB.astype(np.uint16) * 257 + 3
    assert np.array_equal(decode_picture(imagecodecs.png_encode(deep)), deep)


def test_thumbnails_do_not_count():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GREY)
        writer.write(GREY[::2, ::2], subfiletype=1)
    assert np.array_equal(decode_picture(stream.getvalue()), GREY)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_transparency_of_png_is_an_alpha_channel(mode):
    image = Image.fromarray({"RGB": RGB, "L": GREY, "P": GREY % 4, "1": GREY > 100}[mode])
    if mode == "P":
        image = Image.fromarray(GREY % 4, mode="P")
        image.putpalette(bytes(range(12)) + bytes(756))
    transparent = {"RGB": tuple(int(v) for v in RGB[0, 0]), "L": int(GREY[0, 0]), "P": 2, "1": 0}[mode]
    content = pillow(image, format="PNG", transparency=transparent)
    alpha = decode_picture(content)[..., -1]
    assert np.array_equal(alpha, by_pillow(content, "RGBA")[..., -1])
    assert alpha.min() == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_span_the_range_of_eight(bits):
    pixels = np.repeat(np.arange(2**bits, dtype=np.uint8)[None], 8, axis=0)
    content = pillow(Image.fromarray(pixels > 0 if bits == 1 else pixels), format="PNG", bits=bits)
    assert content[24] == bits
    assert np.array_equal(decode_picture(content), pixels * (255 // (2**bits - 1)))


def test_content_decides_and_no_other_decoder_is_opened(monkeypatch):
    opened = []
    monkeypatch.setattr(Image, "open", lambda *a, **k: opened.append(k))
    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a" + bytes(20), b"BM" + bytes(60), b"8BPS" + bytes(40), b""):
        with pytest.raises(ValueError, match="PNG, JPEG or TIFF"):
            decode_picture(content)
    assert not opened


def oversized():
    content = pillow(Image.fromarray(GREY), format="TIFF")
    for extent in (COLUMNS, ROWS):
        content = content.replace(np.uint16(extent).tobytes() + b"\x00\x00", np.uint32(20000).tobytes(), 1)
    return content


FRAMES = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(np.stack([GREY, GREY]), photometric="minisblack"), "2 images"),
        (tiff(GREY.astype(np.uint16), photometric="miniswhite"), "MINISWHITE of 16 bits"),
        (tiff(RGB, photometric="cielab"), "(?i)cielab"),
        (tiff(RGB, photometric="ycbcr"), "(?i)ycbcr"),
        (pillow(FRAMES[0], format="PNG", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (oversized(), "400000000|20000"),
    ],
)
def test_other_pictures_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        decode_picture(content)
