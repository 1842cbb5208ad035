"""Single-frame DICOM images: radiographs, mammograms, ultrasound."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.data.picture import require_size
from vagan.errors import require_extra

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


def decode_dicom_picture(content: bytes) -> NDArray[Any]:
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


def modality_values(dataset: Any, stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
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
