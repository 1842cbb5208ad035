"""DICOM series for `vagan preprocess`: damaged slices, missing ones, several series, files that are none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES

COUNT = 6


def write_series(folder: Path, *, series: str = "1.2.3", count: int = COUNT, first: int = 0) -> list[Path]:
    """Axial slices of 20x18, 5 mm apart."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    rng = np.random.default_rng(0)
    paths = []
    for number in range(first, first + count):
        image = sitk.GetImageFromArray(rng.integers(0, 999, (1, 20, 18)).astype(np.int16))
        tags = {
            "0008|0060": "MR",
            "0020|000d": "1.2",
            "0020|000e": series,
            "0008|0018": f"{series}.{number}",
            "0020|0013": str(number),
            "0020|0032": f"0\\0\\{5 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "2\\2",
            "0018|0050": "5",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        paths.append(folder / f"{series}-{number:03d}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    return paths


def value_of(content: bytes, tag: bytes, new: bytes) -> bytes:
    """A slice with other bytes for a value of two bytes, explicit VR or implicit: it lies as far behind its tag."""
    at = content.index(tag) + 8
    return content[:at] + new + content[at + len(new) :]


ROWS, COLUMNS, BITS = b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x00\x01"

STRANGE: dict[str, Callable[[bytes], bytes]] = {
    "claims 65535 rows": lambda content: value_of(content, ROWS, b"\xff\xff"),
    "claims 0 columns": lambda content: value_of(content, COLUMNS, b"\0\0"),
    "claims 7 bits": lambda content: value_of(content, BITS, b"\x07\0"),
    "no image": lambda content: content[: content.index(ROWS)],
    "pixels lost": lambda content: content[:-300],
    "only the mark": lambda content: bytes(128) + b"DICM",
}


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(2)
    for name, damage in DAMAGES.items():
        yield _preprocess(f"a slice {name}", lambda paths, damage=damage: _rewrite(paths[2], damage, rng))
        yield _preprocess(
            f"all slices {name}", lambda paths, damage=damage: [_rewrite(p, damage, rng) for p in paths]
        )
    for name, change in STRANGE.items():
        yield _preprocess(
            f"all slices: {name}",
            lambda paths, change=change: [path.write_bytes(change(path.read_bytes())) for path in paths],
        )
    yield _preprocess("a slice is missing", lambda paths: paths[3].unlink())
    yield _preprocess("no slice", lambda paths: [path.unlink() for path in paths])
    yield _preprocess("two series", lambda paths: write_series(paths[0].parent, series="9.8.7"))
    yield _preprocess("a slice of another size", _another_size)


def _rewrite(path: Path, damage: Callable[[bytes, np.random.Generator], bytes], rng: np.random.Generator) -> None:
    path.write_bytes(damage(path.read_bytes(), rng))


def _another_size(paths: list[Path]) -> None:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(paths[2]))
    smaller = image[:9, :9]
    for key in image.GetMetaDataKeys():
        smaller.SetMetaData(key, image.GetMetaData(key))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(paths[2]))
    writer.Execute(smaller)


def _preprocess(name: str, damage: Callable[[list[Path]], object]) -> Defect:
    def make(_: Workshop, place: Path) -> Command:
        damage(write_series(place / "series"))
        (place / "table.csv").write_text("image,subject,session\nseries,s1,m0\n", encoding="utf-8")
        return ["preprocess", place / "table.csv", place / "prepared", "--strip", "none", "--jobs", 1]

    return Defect("DICOM", name, make, "series", leaves="prepared")
