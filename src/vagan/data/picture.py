"""PNG, JPEG and TIFF images.

The format is recognised by the first bytes of the file, never by its suffix, and only the decoder of that format is
opened. What a file says about its pixels (orientation, photometric interpretation, palette, planar layout, bit depth)
is applied; what cannot be applied without guessing is refused by name.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vagan.conventions import LARGEST_VALUES

Format = Literal["PNG", "JPEG", "TIFF"]
Pixels = NDArray[Any]
"""``(row, column)``, or ``(row, column, channel)`` with grey and alpha, RGB, or RGB and alpha channels."""

SIGNATURES: dict[bytes, Format] = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
}

COLOURS = {"MINISBLACK": 1, "RGB": 3}
"""Samples of a pixel by the name of TIFF's photometric interpretation."""
BY_PILLOW = ("MINISWHITE", "PALETTE", "SEPARATED")
"""Interpretations that Pillow converts to greyscale or RGB, with 8 bits a sample."""
REDUCED, MASK = 1, 4
"""Bits of TIFF's NewSubfileType: a thumbnail, and a transparency mask."""


def picture_format(content: bytes) -> Format | None:
    """Format of a picture by its first bytes; None for anything else."""
    return next((name for signature, name in SIGNATURES.items() if content.startswith(signature)), None)


def decode_picture(content: bytes) -> Pixels:
    """Pixels of a PNG, JPEG or TIFF file in the file's own intensity: upright, black is low, colours are RGB.

    Raises `ValueError` if the content is of another format, is damaged, declares more than `LARGEST_VALUES` values,
    holds several images, or has pixels that cannot be interpreted without guessing. Decoders raise errors of other
    types for some damaged files.
    """
    found = picture_format(content)
    if found is None:
        raise ValueError("its content is not PNG, JPEG or TIFF, whatever its name says")
    with _strict():
        return _decode_tiff(content) if found == "TIFF" else _decode_with_pillow(content, found)


def _decode_with_pillow(content: bytes, name: Format) -> Pixels:
    from imagecodecs import png_decode
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's limit; LARGEST_VALUES is ours
        with Image.open(io.BytesIO(content), formats=[name]) as image:
            require_size((*image.size, len(image.getbands())))
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise ValueError(f"it holds {frames} frames, but must hold one image; split it first")
            upright = ImageOps.exif_transpose(image)
            if name == "PNG" and content[24] == 16 and image.mode in ("RGB", "RGBA", "LA"):
                # Pillow keeps 8 of them
                return _transposed(np.asarray(png_decode(content)), image.getexif().get(0x0112, 1))
            if upright.mode == "P" or "transparency" in upright.info:
                has_alpha = "transparency" in upright.info
                grey = upright.mode in ("1", "L")
                upright = upright.convert(("LA" if grey else "RGBA") if has_alpha else "RGB")
            elif upright.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                upright = upright.convert("RGB")
            elif upright.mode == "1":
                upright = upright.convert("L")
            return np.asarray(upright)


def _decode_tiff(content: bytes) -> Pixels:
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as file:
        count = len(file.pages)
        # damaged directories that lead in a circle are counted correctly, and iterated for ever
        with TiffFile(io.BytesIO(content)) as again:
            if sum(1 for _ in islice(iter(again.pages), count + 1)) > count:
                raise ValueError("its directories form a cycle")
        images = [page for page in map(file.pages.get, range(count)) if not int(page.subfiletype) & (REDUCED | MASK)]
        if len(images) != 1:
            raise ValueError(f"it holds {len(images)} images, but must hold one; split it first")
        (page,) = images
        require_size(page.shape)
        interpretation = page.photometric.name
        if interpretation == "YCBCR" and page.compression.name in ("JPEG", "OJPEG"):
            interpretation = "RGB"  # its decoder returns that
        if interpretation in BY_PILLOW and page.bitspersample <= 8:
            return _decode_with_pillow(content, "TIFF")
        if interpretation not in COLOURS:
            raise ValueError(
                f"its photometric interpretation {interpretation} of {page.bitspersample} bits is not supported; "
                "convert it to greyscale or RGB"
            )
        if page.sampleformat is not None and int(page.sampleformat) not in (1, 2, 3):
            raise ValueError(f"its samples are {page.sampleformat!r}, but must be integers or floating-point numbers")
        pixels = page.asarray()
        if pixels.ndim == 3 and int(page.planarconfig or 1) == 2 and page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        if pixels.ndim > 3 or (pixels.ndim == 3 and page.samplesperpixel == 1):
            raise ValueError(f"it holds one image of shape {pixels.shape}, but must hold a picture; split it first")
        if page.bitspersample == 1:
            pixels = np.where(pixels, np.uint8(255), np.uint8(0))
        pixels = _without_unspecified_samples(pixels, page, COLOURS[interpretation])
        return _transposed(pixels, int(page.tags.valueof("Orientation", 1)))


def _without_unspecified_samples(pixels: Pixels, page: Any, colours: int) -> Pixels:
    """Colour samples, and alpha if the file says that a further sample is alpha."""
    if pixels.ndim == 2:
        return pixels
    extra = [int(kind) for kind in page.extrasamples]
    if not extra and pixels.shape[-1] == colours:
        return pixels[..., 0] if colours == 1 else pixels
    if len(extra) == 1 and extra[0] in (1, 2) and pixels.shape[-1] == colours + 1:
        return pixels
    raise ValueError(f"it has {pixels.shape[-1]} samples per pixel, of which {colours} are colours; keep those alone")


def _transposed(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels of an image stored in one of the eight orientations of TIFF and EXIF."""
    if orientation not in range(1, 9):
        raise ValueError(f"its orientation must be 1 to 8, found {orientation}")
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def require_size(declared: tuple[int, ...]) -> None:
    """Refuse a picture by what its header declares, before memory is allocated."""
    if not 0 < math.prod(declared) <= LARGEST_VALUES:
        raise ValueError(f"it declares {declared} values, and 1 to {LARGEST_VALUES} are read")


@contextmanager
def _strict() -> Iterator[None]:
    """Turn what the TIFF reader logs as an error, and reads on, into an error; other messages pass afterwards."""
    log, held = logging.getLogger("tifffile"), list[logging.LogRecord]()

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    log.addFilter(hold)
    try:
        yield
    finally:
        log.removeFilter(hold)
    for record in held:
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())
    for record in held:
        log.handle(record)
