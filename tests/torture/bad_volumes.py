"""NIfTI and MGZ files: damaged, misplaced, and headers that claim what cannot be."""

import gzip
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np

from heads import ball
from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED, gzip_bomb

SUFFIXES = (".nii", ".nii.gz", ".mgz")
DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE = 40, 70, 72, 76, 108, 112


@lru_cache(maxsize=8)
def good(suffix: str) -> bytes:
    """A ball of 26x25x20 voxels."""
    array, affine = ball()
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"ball{suffix}"
        kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(array, affine), path)
        return path.read_bytes()


def patched(*patches: tuple[int, str, object]) -> bytes:
    """The ball with other bytes in its header: offset, format, value or values."""
    content = bytearray(good(".nii"))
    for at, form, values in patches:
        new = struct.pack(f"<{form}", *(values if isinstance(values, tuple) else (values,)))
        content[at : at + len(new)] = new
    return bytes(content)


def holding(change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> bytes:
    array, place = ball()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii"
        nib.save(nib.Nifti1Image(change(array), place if affine is None else affine), path)
        return path.read_bytes()


def _with(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[3, 4, 5] = value
        return array

    return change


def dims(*extents: int) -> tuple[int, str, object]:
    return (DIM, "8h", (len(extents), *extents, *[1] * (7 - len(extents))))


STRANGE: dict[str, Callable[[], bytes]] = {
    "series of 4": lambda: holding(lambda array: np.stack([array] * 4, axis=-1)),
    "complex": lambda: holding(lambda array: array.astype(np.complex64)),
    "colours": lambda: holding(lambda array: np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    "NaN": lambda: holding(_with(np.nan)),
    "infinity": lambda: holding(_with(np.inf)),
    "constant": lambda: holding(np.ones_like),
    "slope NaN and offset infinite": lambda: patched((SLOPE, "2f", (2.0, np.inf))),
    "slope beyond single precision": lambda: patched((SLOPE, "2f", (3e38, 0.0))),
    "affine of NaN": lambda: patched((280, "4f", (np.nan,) * 4), (252, "2h", (0, 1))),
    "affine that is flat": lambda: patched((280, "12f", (0.0,) * 12), (252, "2h", (0, 1))),
    "claims 2^45 voxels": lambda: patched(dims(32767, 32767, 32767)),
    "claims 1200 x 1200 x 1200": lambda: patched(dims(1200, 1200, 1200)),
    "claims more than it holds": lambda: patched(dims(26, 25, 300)),
    "negative extent": lambda: patched(dims(26, -25, 20)),
    "extent 0": lambda: patched(dims(26, 0, 20)),
    "9 axes": lambda: patched((DIM, "h", 9)),
    "-3 axes": lambda: patched((DIM, "h", -3)),
    "0 axes": lambda: patched((DIM, "h", 0)),
    "unknown type": lambda: patched((DATATYPE, "h", 999)),
    "type 0": lambda: patched((DATATYPE, "2h", (0, 0))),
    "data far behind the end": lambda: patched((VOX_OFFSET, "f", 1e30)),
    "data before the file": lambda: patched((VOX_OFFSET, "f", -400.0)),
    "data at NaN": lambda: patched((VOX_OFFSET, "f", np.nan)),
    "header of another size": lambda: patched((0, "i", 540)),
    "no magic": lambda: patched((344, "4s", b"zip\0")),
    "pair without its image": lambda: patched((344, "4s", b"ni1\0")),
    "extension that never ends": lambda: patched((348, "4B", (1, 0, 0, 0)), (352, "2i", (2**30, 6))),
    "voxels of NaN mm": lambda: patched((PIXDIM, "4f", (1.0, np.nan, 6.0, 7.0)), (252, "2h", (1, 0))),
}

BOMBS: dict[str, Callable[[], bytes]] = {
    "bomb of 1 GB behind a small image": lambda: gzip_bomb(good(".nii")[:100], 1000),
    "claims and holds 3 GB": lambda: gzip_bomb(patched(dims(900, 900, 900))[:352], 3),
    "checksum wrong": lambda: good(".nii.gz")[:-8] + bytes(8),
    "packed twice": lambda: gzip.compress(good(".nii.gz")),
    "last bytes lost": lambda: good(".nii.gz")[:-40],
}


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(1)
    for suffix in SUFFIXES:
        for name, damage in DAMAGES.items():
            if (suffix, name) == (".nii", "noise"):
                continue
            content = damage(good(suffix), rng)
            yield from _everywhere(suffix, name, lambda content=content: content)
        for name, misplace in MISPLACED.items():
            yield from _everywhere(suffix, name, lambda suffix=suffix: good(suffix), misplace)
    for name, made in STRANGE.items():
        yield from _everywhere(".nii", name, made)
    for name, made in BOMBS.items():
        yield from _everywhere(".nii.gz", name, made)


def _everywhere(
    suffix: str, name: str, content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None
) -> Iterator[Defect]:
    """Given to `attribute`, to `import` and to `preprocess`."""

    def write(place: Path) -> Path:
        bad = place / f"bad{suffix}"
        bad.write_bytes(content())
        misplace(bad)
        return bad

    def attribute(workshop: Workshop, place: Path) -> Command:
        return ["attribute", workshop.model_3d, write(place), "--out", place / "maps"]

    def check(_: Workshop, place: Path) -> Command:
        (place / "ball.nii").write_bytes(good(".nii"))
        write(place)
        rows = f"a,a,,0,CN,train,ball.nii\nb,b,,1,AD,train,bad{suffix}\n"
        (place / "manifest.csv").write_text(f"id,subject,session,label,class,split,image\n{rows}", encoding="utf-8")
        return ["check", place / "manifest.csv"]

    def preprocess(_: Workshop, place: Path) -> Command:
        write(place)
        (place / "table.csv").write_text(f"image,subject,session\nbad{suffix},s1,m0\n", encoding="utf-8")
        return ["preprocess", place / "table.csv", place / "prepared", "--strip", "none", "--jobs", 1]

    yield Defect(suffix, f"{name}, attribute", attribute, f"bad{suffix}")
    if name != "a folder":  # taken for DICOM
        yield Defect(suffix, f"{name}, check", check, f"bad{suffix}")
    yield Defect(suffix, f"{name}, preprocess", preprocess, f"bad{suffix}", leaves="prepared")
