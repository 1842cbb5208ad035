"""Image files of every accepted kind, read as ``(channel, *space)`` arrays in the file's own intensity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vagan.constants import MAX_VALUES
from vagan.data.picture import Pixels, decode_dicom_picture, decode_picture, is_dicom
from vagan.data.volume import SUFFIXES as VOLUME_SUFFIXES
from vagan.data.volume import Volume, read_volume, write_like
from vagan.errors import ColourError, ImageFileError, MissingExtraError, first_line
from vagan.files import replacing

Colour = Literal["grey", "rgb"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".npy", *VOLUME_SUFFIXES)

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # weights of red, green and blue in ITU-R BT.709


def is_clutter(*names: str) -> bool:
    """Whether one of these names of files or folders is not the user's: hidden, of macOS, Windows or an editor."""
    return any(name.startswith(".") or name in ("Thumbs.db", "desktop.ini", "__MACOSX") for name in names)


@dataclass(frozen=True)
class ImageFile:
    """What a file holds, and for NIfTI where it lies in space."""

    path: Path
    array: NDArray[np.float32]
    volume: Volume | None = None
    bytes_per_value: int | None = None  # of pictures with unsigned integers: 1 or 2, as they are in the file

    def write_map(self, folder: Path, name: str, values: NDArray[np.float32]) -> Path:
        """Write a map of the same ``(channel, *space)``: NIfTI for NIfTI, else ``.npy`` as the picture has it."""
        path = folder / f"{name}{'.npy' if self.volume is None else '.nii.gz'}"
        if self.volume is not None:
            write_like(path, values[0], self.volume)
            return path
        with replacing(path) as temporary:
            # channels last, as in pictures
            np.save(temporary, values[0] if len(values) == 1 else np.moveaxis(values, 0, -1))
        return path


def suffix_of(path: Path) -> str:
    """The accepted suffix of a file name, or an empty string."""
    return next((path.name[-len(s) :] for s in SUFFIXES if path.name.lower().endswith(s)), "")


def name_of(path: Path) -> str:
    """The name of a file without its suffix, or of a folder."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def read_image(path: Path, colour: Colour | None = None, *, constant: bool = False) -> ImageFile:
    """Read ``.png``, ``.jpg``, ``.tif``, ``.dcm`` (one frame), ``.npy``, ``.nii``, ``.nii.gz`` or ``.mgz``.

    The first bytes decide between the formats of pictures. The ``colour`` ``grey`` turns colour into luminance,
    ``rgb`` keeps three channels; without it, a picture must be grey, or coloured with three equal channels. Raises
    `ImageFileError` if the file is missing, truncated, of another kind, or holds NaN, infinities or, unless
    ``constant`` ones are accepted (such as the mask of no effect), one value only.
    """
    suffix, volume, bytes_per_value = suffix_of(path).lower(), None, None
    if not suffix:
        raise ImageFileError(f"{path} is not an image: its name must end in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ImageFileError(f"{path} does not exist; check the path")
    if suffix in VOLUME_SUFFIXES:
        volume = read_volume(path)
        values = volume.array[None]
    else:
        array = _read_npy(path) if suffix == ".npy" else _read_picture(path)
        values = _with_channels(path, array, colour, is_picture=suffix != ".npy")
        bytes_per_value = array.dtype.itemsize if array.dtype.kind in "ub" else None
    if values.ndim < 3 or not values.size:
        raise ImageFileError(f"{path} must hold a 2-D or 3-D image, found shape {values.shape[1:]}")
    if not np.isfinite(values).all():
        raise ImageFileError(f"{path} holds NaN or infinite values; every pixel must be a number")
    if not constant and values.min() == values.max():
        raise ImageFileError(f"{path} is constant: every pixel is {values.min():g}; constant images cannot be used")
    return ImageFile(path, values, volume, bytes_per_value)


def _read_npy(path: Path) -> Pixels:
    try:
        # mapped, not read: a header that claims a terabyte must not get one
        array = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(array, np.ndarray) or not 0 < array.size <= MAX_VALUES:
            raise ValueError(f"one array of 1 to {MAX_VALUES} values is needed")
        return array
    except Exception as error:  # the header is parsed as Python, whose tokenizer has errors of its own
        raise ImageFileError(f"{path} cannot be read as a NumPy array: {error}; save it with numpy.save") from error


def _read_picture(path: Path) -> Pixels:
    try:
        content = path.read_bytes()
        return decode_dicom_picture(content) if is_dicom(content) else decode_picture(content)
    except MissingExtraError:
        raise
    except Exception as error:  # decoders raise errors of their own, which have no common base
        reason = first_line(error)
        hint = "" if ";" in reason else "; is it complete?"  # where no remedy is given
        raise ImageFileError(f"{path} cannot be read as an image: {reason}{hint}") from error


def _with_channels(path: Path, array: Pixels, colour: Colour | None, *, is_picture: bool) -> NDArray[np.float32]:
    if array.dtype.kind not in "uifb":
        raise ImageFileError(f"{path} must hold real numbers, found {array.dtype}; convert it first")
    with np.errstate(over="ignore"):  # what is beyond single precision is infinite, and refused as such
        values = array.astype(np.float32)
    coloured = is_picture and values.ndim == 3 and values.shape[-1] in (2, 3, 4)
    if not coloured:
        if values.ndim not in (2, 3) or (is_picture and values.ndim != 2):
            raise ImageFileError(f"{path} must hold one 2-D or 3-D image, found shape {values.shape}; split it first")
        return np.repeat(values[None], 3, axis=0) if colour == "rgb" and is_picture else values[None]
    if values.shape[-1] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1]
        if alpha.min() < alpha.max():
            raise ImageFileError(f"{path} is partly transparent; flatten it onto a background first")
    channels = np.moveaxis(values, -1, 0)
    if colour == "rgb":
        return np.repeat(channels, 3 // len(channels), axis=0)
    if (channels == channels[0]).all():
        return channels[:1]
    if colour is None:
        raise ColourError(f"{path} is in colour, but must be grey; convert it to greyscale")
    return np.tensordot(LUMINANCE, channels, axes=1)[None]
