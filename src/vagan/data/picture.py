"""PNG, JPEG and TIFF images, and single-frame DICOM images: radiographs, mammograms, ultrasound.

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
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vagan.constants import MAX_VALUES
from vagan.errors import require_extra

PictureFormat = Literal["PNG", "JPEG", "TIFF"]
Pixels = NDArray[Any]  # ``(row, column)``, or ``(row, column, channel)``: grey and alpha, RGB, or RGB and alpha

SIGNATURES: dict[PictureFormat, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),  # the last two: BigTIFF
}

COLOURS = {"MINISBLACK": 1, "RGB": 3}  # samples of a pixel by the name of TIFF's photometric interpretation
BY_PILLOW = ("MINISWHITE", "PALETTE", "SEPARATED")
"""Interpretations that Pillow converts to greyscale or RGB, with 8 bits a sample."""
REDUCED, MASK = 1, 4  # bits of TIFF's NewSubfileType: a thumbnail, and a transparency mask


def picture_format(content: bytes) -> PictureFormat | None:
    """Format of a picture by its first bytes; None for anything else."""
    return next((name for name, signatures in SIGNATURES.items() if content.startswith(signatures)), None)


def decode_picture(content: bytes) -> Pixels:
    """Pixels of a PNG, JPEG or TIFF file in the file's own intensity: upright, black is low, colours are RGB.

    Raises `ValueError` if the content is of another format, is damaged, declares more than `MAX_VALUES` values,
    holds several images, or has pixels that cannot be interpreted; decoders raise others for some damaged files.
    """
    found = picture_format(content)
    if found is None:
        raise ValueError("its content is not PNG, JPEG or TIFF, whatever its name says")
    with _strict():
        return _decode_tiff(content) if found == "TIFF" else _decode_with_pillow(content, found)


def _decode_with_pillow(content: bytes, name: PictureFormat) -> Pixels:
    from imagecodecs import png_decode
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's limit; MAX_VALUES is ours
        with Image.open(io.BytesIO(content), formats=[name]) as image:
            require_size((*image.size, len(image.getbands())))
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise ValueError(f"it holds {frames} frames, but must hold one image; split it first")
            upright = ImageOps.exif_transpose(image)
            if name == "PNG" and content[24] == 16 and image.mode in ("RGB", "RGBA", "LA"):
                # Pillow keeps 8 of them
                return _transposed(np.asarray(png_decode(content)), image.getexif().get(0x0112, 1))
            if "transparency" in upright.info:
                upright = upright.convert("LA" if upright.mode in ("1", "L") else "RGBA")
            elif upright.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
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
    if not 0 < math.prod(declared) <= MAX_VALUES:
        raise ValueError(f"it declares {declared} values, and 1 to {MAX_VALUES} are read")


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


_FIRST_TAGS = (b"\x02\0\0\0", b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0")
"""Of files without a preamble: lengths of groups, recognition code, character set or type of image."""


def is_dicom(content: bytes) -> bool:
    """Whether a file begins like a DICOM file: a preamble and ``DICM``, or, without these, the first group."""
    return content[128:132] == b"DICM" or content[:4] in _FIRST_TAGS


def is_dicom_file(path: Path) -> bool:
    """`is_dicom` of a regular file; a pipe, which would be waited for, is none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_dicom(file.read(132))


def decode_dicom_picture(content: bytes) -> Pixels:
    """Pixels ``(row, column)`` or ``(row, column, RGB)`` of a DICOM file with one frame.

    Rescale slope and intercept or the modality table are applied, then the first window or table of values of
    interest, if there is one. MONOCHROME1, where white is low, is inverted. Colour becomes RGB. Raises
    `MissingExtraError` without pydicom, `ValueError` if the file has several frames or none, or a photometric
    interpretation that is not supported. Decoders raise errors of other types for damaged files.
    """
    require_extra("dicom", "pydicom", what="a DICOM picture")
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")  # remarks on unusual but readable headers
        dataset = dcmread(io.BytesIO(content), force=True)
        if "PixelData" not in dataset:
            raise ValueError("it holds no pixels")
        name_encoding(dataset)
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames != 1:
            raise ValueError(f"it holds {frames} frames, but must hold one picture; split it first")
        require_size((int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)))
        pixels = pixel_array(dataset)  # colour is RGB
        interpretation = str(dataset.PhotometricInterpretation)
        if interpretation == "PALETTE COLOR":
            return np.asarray(apply_color_lut(pixels, dataset))
        if interpretation not in ("MONOCHROME1", "MONOCHROME2"):
            if pixels.ndim != 3:
                raise ValueError(f"its photometric interpretation {interpretation} is not supported")
            return np.asarray(pixels)
        shown = np.asarray(apply_voi_lut(apply_modality_lut(pixels, dataset), dataset))
        if interpretation == "MONOCHROME2":
            return shown
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(table):
            return float(2 ** int(dataset[table].value[0].LUTDescriptor[2]) - 1) - shown
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return sum(_ends(dataset, slope, intercept)) - shown


def modality_values(dataset: Any, stored: Pixels, slope: float, intercept: float) -> NDArray[np.float64]:
    """Stored pixels of a grey frame after rescaling, inverted if they are MONOCHROME1."""
    values = stored * slope + intercept
    inverted = str(dataset.PhotometricInterpretation) == "MONOCHROME1"
    return sum(_ends(dataset, slope, intercept)) - values if inverted else values


def name_encoding(dataset: Any) -> None:
    """Complete a data set without the header that names its encoding, as pydicom found it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _ends(dataset: Any, slope: float, intercept: float) -> tuple[float, float]:
    """Lowest and highest intensity that can be stored: by the header alone, so that all images are inverted alike."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    stored = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    low, high = sorted((stored * slope + intercept).tolist())
    return low, high
