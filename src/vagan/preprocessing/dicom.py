"""A DICOM series as a volume, read by SimpleITK (GDCM)."""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vagan.errors import ImageFileError
from vagan.geometry import Matrix
from vagan.preprocessing.itk import from_itk, sitk

SAMPLES, BITS = "0028|0002", "0028|0100"
PIXELS = re.compile(rb"(?:\xe0\x7f\x10\x00|\x7f\xe0\x00\x10)(?:O[BW]..)?(?P<length>.{4})", re.DOTALL)
"""Tag of pixel data, little or big endian, its kind where that is said, and how many bytes there are."""
COMPRESSED = 0xFFFFFFFF
"""In the place of how many there are."""


def read_series(folder: Path) -> tuple[NDArray[np.float32], Matrix]:
    """Array and affine (RAS+ mm) of the one image series in a folder.

    Raises
    ------
    ImageFileError
        If there is no series or more than one, or if slices are missing.
    """
    sitk.ProcessObject.GlobalWarningDisplayOff()
    if odd := [path for path in folder.iterdir() if not path.is_dir() and not path.is_file()]:
        raise ImageFileError(f"{folder} must hold files alone, but {odd[0].name} is none; remove it")
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = "none" if not series else f"{len(series)}: {', '.join(series[:3])}"
        raise ImageFileError(f"{folder} must hold one DICOM series, found {found}; give each series a folder")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ImageFileError(
            f"{folder} cannot be read as a DICOM series: {_last_line(error)}; "
            "are all its slices whole and of one size? copy the series again"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageFileError(f"{folder} must hold one grey 3-D image, found size {image.GetSize()}")
    _require_even_slices(folder, names)
    return from_itk(sitk.Cast(image, sitk.sitkFloat32))


def _require_even_slices(folder: Path, names: tuple[str, ...]) -> None:
    """The reader spaces slices evenly whatever their files say; a missing one would shorten the head unseen.

    Nor does it mind files that hold fewer pixels than they claim: what lies behind them in memory is read as well.
    """
    positions = []
    for name in names:
        reader = sitk.ImageFileReader()
        reader.SetFileName(name)
        reader.ReadImageInformation()
        _require_pixels(Path(name), reader)
        positions.append(reader.GetOrigin())
    steps = np.linalg.norm(np.diff(np.array(positions), axis=0), axis=1)
    if len(steps) and steps.max() > 1.2 * steps.min() + 1e-3:
        raise ImageFileError(
            f"{folder} lacks slices: they are {steps.min():.3g} to {steps.max():.3g} mm apart; copy the whole series"
        )


def _require_pixels(path: Path, reader: sitk.ImageFileReader) -> None:
    """Of files that are not compressed; decoders of others complain themselves."""
    header = {key: int(reader.GetMetaData(key)) for key in (SAMPLES, BITS) if reader.HasMetaDataKey(key)}
    needed = math.prod(reader.GetSize()) * header.get(SAMPLES, 1) * header.get(BITS, 8) // 8
    content = path.read_bytes()
    lengths = {  # several, since there may be small pictures in the header
        found.end(): int.from_bytes(found["length"], "big" if found[0][0] == 0x7F else "little")
        for found in PIXELS.finditer(content)
    }
    if not lengths or COMPRESSED in lengths.values():
        return
    held = max(min(length, len(content) - begin) for begin, length in lengths.items())
    if held < needed:
        raise ImageFileError(
            f"{path} must hold {needed} bytes of pixels, as its header claims, found {held}; copy the series again"
        )


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1]
