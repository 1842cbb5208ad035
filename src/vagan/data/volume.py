"""NIfTI and MGZ volumes, reoriented to RAS+. No other module imports nibabel."""

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt2axcodes, ornt_transform
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from vagan.constants import MAX_VALUES
from vagan.errors import ImageFileError
from vagan.files import regular, replacing

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # damaged headers are errors of ours

SUFFIXES = (".nii", ".nii.gz", ".mgz")
COMPRESSED = (".nii.gz", ".mgz")
MAX_TRAILING_BYTES = 2**24  #: Bytes behind the voxels of a compressed file: footers are far shorter.


@dataclass(frozen=True)
class Volume:
    """An image in RAS+ order: axes point to the subject's right, front and top.

    ``array`` has the shape ``space``; axes of extent 1 are dropped, so that a single slice is 2-D.
    ``affine`` takes its voxel indices to mm; the others are the file's own:
    ``grid_shape`` in three axes, ``file_shape`` as it was.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    orientation: NDArray[np.float64]
    grid_shape: tuple[int, ...]
    grid_affine: NDArray[np.float64]
    header: nib.Nifti1Header
    file_shape: tuple[int, ...]

    @property
    def orientation_code(self) -> str:
        """Where the file's own axes point, e.g. ``LPS``."""
        return "".join(ornt2axcodes(self.orientation))

    def vectors_mm(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """Displacements in voxels, component i along axis i of ``array``, in mm towards right, front and top.

        ``(dims, *space)`` to ``(3, *space)``, also of a single slice, which may lie obliquely.
        """
        return np.tensordot(self._steps_mm, field, axes=1).astype(np.float32)

    def places_mm(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Where voxels of ``array`` lie: ``(n, dims)`` indices to ``(n, 3)`` mm towards right, front and top."""
        return indices @ self._steps_mm.T + self.affine[:3, 3]

    @property
    def _steps_mm(self) -> NDArray[np.float64]:
        """``(3, dims)``: one voxel along each axis of ``array``."""
        extents = apply_orientation(np.empty(self.grid_shape, bool), self.orientation).shape
        return self.affine[:3, :3][:, np.array(extents) > 1]


def read_volume(path: Path) -> Volume:
    """Read a NIfTI or MGZ file of one 2-D or 3-D image.

    Raises `ImageFileError` if it is not NIfTI, truncated, changed, half of a pair, a series, or of an absurd size.
    """
    try:
        with _opened(path) as file:
            _require_own_voxels(path, file)
            stored = _voxels(path, file)
    except ImageFileError:
        raise
    except FileNotFoundError as error:
        raise ImageFileError(f"{path} does not exist; check the path") from error
    except Exception as error:  # nibabel and the decompressors raise whatever a damaged header leads to
        hint = "is the file complete? Copy it again"
        raise ImageFileError(f"{path} cannot be read as NIfTI: {error}; {hint}") from error
    header = file.header
    if not isinstance(header, nib.Nifti1Header):
        header = nib.Nifti1Header.from_header(header, check=False)
    volume = _in_ras(stored, file.affine, header, tuple(int(extent) for extent in file.shape))
    array = volume.array.reshape([extent for extent in volume.array.shape if extent > 1] or (1,))
    return replace(volume, array=array)


def _in_ras(
    array: NDArray[np.float32], affine: NDArray[np.float64], header: nib.Nifti1Header, file_shape: tuple[int, ...]
) -> Volume:
    orientation = io_orientation(affine)
    oriented = np.ascontiguousarray(apply_orientation(array, orientation))
    to_mm = affine @ inv_ornt_aff(orientation, array.shape)
    return Volume(oriented, to_mm, orientation, array.shape, affine, header, file_shape)


@contextmanager
def _opened(path: Path) -> Iterator[SpatialImage]:
    """The image in a file; if compressed, the file must be as it was written, which only its last bytes show."""
    file = nib.load(regular(path))
    if not path.name.lower().endswith(COMPRESSED):
        yield file
        return
    with gzip.open(path) as stream:
        yield type(file).from_stream(stream)  # nibabel's own stream would be closed before its end
        if len(stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
            raise ValueError(f"it has more than {MAX_TRAILING_BYTES} bytes after its voxels")


def _require_own_voxels(path: Path, file: SpatialImage) -> None:
    """Refuse half of a pair, and headers of another length: nibabel lets them pass."""
    kind = type(file.header)
    if not issubclass(kind, nib.Nifti1Header):
        return
    with file.file_map["image"].get_prepare_fileobj("rb") as stream:
        length = kind.sizeof_hdr
        stored = kind(stream.read(length), check=False)
    if (size := stored["sizeof_hdr"]) != length:
        raise ImageFileError(f"{path} must begin with a header of {length} bytes, found one of {size}; repair it")
    if stored["magic"].item() != kind.single_magic:
        raise ImageFileError(f"{path} is one half of a pair, and its voxels in an .img file; convert both to .nii")


def _voxels(path: Path, file: SpatialImage) -> NDArray[np.float32]:
    """What the file holds, in three axes, unless it is no single image of real numbers."""
    if not np.isfinite(file.affine).all() or abs(np.linalg.det(file.affine[:3, :3])) < 1e-12:
        raise ImageFileError(f"{path} must locate its voxels, but its affine is singular or not finite")
    if file.get_data_dtype().kind not in "uif":
        raise ImageFileError(f"{path} must hold one real number for each voxel, found {file.get_data_dtype()}")
    if 0 in file.shape:
        raise ImageFileError(f"{path} must hold voxels, but its shape is {file.shape}; check its header")
    if int(np.prod(file.shape, dtype=np.int64)) > MAX_VALUES:
        most = f"2^{MAX_VALUES.bit_length() - 1}"
        raise ImageFileError(f"{path} claims {file.shape} voxels; at most {most} are read; check its header")
    shape = tuple(file.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise ImageFileError(f"{path} must hold one image, not a series: its shape is {shape}; extract a frame")
    with np.errstate(over="ignore"):  # what is beyond single precision is infinite, and refused as such
        return np.asarray(file.dataobj, dtype=np.float32).reshape((*shape, 1, 1)[:3])


def header_warnings(path: Path) -> list[str]:
    """What is odd about the place of a file's voxels, by its header alone; MGZ files say all in one way.

    Raises `ImageFileError` if lengths are not in mm, or left and right are not defined.
    """
    header = nib.load(path).header
    if not isinstance(header, nib.Nifti1Header):
        return []
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        raise ImageFileError(f"{path} has neither qform nor sform, so left is unknown; set one, e.g. by fslorient")
    if header.get_xyzt_units()[0] not in ("mm", "unknown"):
        raise ImageFileError(f"{path} must be in mm, not {header.get_xyzt_units()[0]}; correct its xyzt_units")
    if sform is None or qform is None:
        return []
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        return ["sform and qform disagree about which side is left; the sform was taken: check the orientation"]
    corners = np.array(np.meshgrid(*[(0, extent - 1) for extent in header.get_data_shape()[:3]])).reshape(3, -1).T
    apart_mm = np.linalg.norm(apply_affine(sform, corners) - apply_affine(qform, corners), axis=1).max()
    return [f"sform and qform differ by {apart_mm:.1f} mm; the sform was taken"] if apart_mm > 1 else []


def make_volume(array: NDArray[np.float32], affine: NDArray[np.float64]) -> Volume:
    """A volume that is not from a NIfTI file: any axes, brought to RAS+ order."""
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, 1)
    return _in_ras(array, affine, header, array.shape)


def write_volume(
    path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], space: Literal["aligned", "mni"] = "aligned"
) -> None:
    """Write a new NIfTI file of an array, its axes as in ``affine``; masks become bytes, all else float32.

    ``space`` is what the header calls the space: MNI (code 4 in qform and sform), or aligned to another image.
    """
    image = nib.Nifti1Image(array.astype(np.uint8 if array.dtype.kind in "bu" else np.float32), affine)
    if space == "mni":
        image.set_sform(affine, "mni")
        image.set_qform(affine, "mni")
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nib.save(image, temporary)


def write_like(path: Path, array: NDArray[np.float32], volume: Volume) -> None:
    """Write an array on the grid of the file that ``volume`` was read from: same axes, shape and affine."""
    _save_like(path, _on_grid(array, volume).reshape(volume.file_shape), volume)


def write_vectors_like(path: Path, vectors_mm: NDArray[np.float32], volume: Volume) -> None:
    """Write ``(3, *space)`` vectors on the grid of a file, as NIfTI stores them: ``(i, j, k, 1, 3)``, intent vector.

    Their components stay those towards right, front and top, in mm, whatever the order of the file's axes.
    """
    stored = np.stack([_on_grid(component, volume) for component in vectors_mm], axis=-1)
    _save_like(path, stored[:, :, :, None], volume, intent="vector")


def _on_grid(array: NDArray[np.float32], volume: Volume) -> NDArray[np.float32]:
    oriented = apply_orientation(np.empty(volume.grid_shape, bool), volume.orientation).shape
    to_grid = ornt_transform(io_orientation(np.eye(4)), volume.orientation)
    return apply_orientation(array.reshape(oriented), to_grid).astype(np.float32)


_QFORM = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM = ("srow_x", "srow_y", "srow_z")


def _save_like(path: Path, stored: NDArray[np.float32], volume: Volume, *, intent: str = "none") -> None:
    header = nib.Nifti1Header()  # geometry alone: no text or extension of the source
    header.set_data_shape(stored.shape)
    header.set_intent(intent)
    for name in ("xyzt_units", "qform_code", "sform_code", "pixdim", *_QFORM, *_SFORM):
        header[name] = volume.header[name]
    image = nib.Nifti1Image(stored, volume.grid_affine, header)
    with replacing(path) as temporary:
        nib.save(image, temporary)
