"""Pictures and arrays: damaged, misplaced, of another kind, and such that claim to be huge."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from torture.corpus import Command, Defect, Workshop
from torture.damages import DAMAGES, MISPLACED, zip_of


def grey(shape: tuple[int, ...] = (24, 20), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


GOOD = {
    ".png": encoded(grey(), "PNG"),
    ".jpg": encoded(grey(), "JPEG"),
    ".tif": tiff(grey(), photometric="minisblack", compression="zlib"),
    ".npy": npy(grey().astype(np.float32)),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG file that claims a size and holds what it is given."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@cache
def packed_zeros(count: int) -> bytes:
    """Zeros as zlib packs them; about as many as asked for."""
    packer = zlib.compressobj(1)
    block = bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(count // 2**20)), packer.flush()])


def npy_header(text: str, content: bytes = b"") -> bytes:
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def with_nan(value: float) -> np.ndarray:
    array = grey().astype(np.float32)
    array[3, 4] = value
    return array


def pages() -> bytes:
    return tiff(grey((5, 24, 20)), photometric="minisblack")


STRANGE: dict[str, Callable[[], tuple[str, bytes]]] = {
    "half transparent": lambda: (".png", encoded(grey((24, 20, 4)), "PNG")),
    "two colours": lambda: (".png", encoded(grey((24, 20, 3)), "PNG")),
    "colour JPEG": lambda: (".jpg", encoded(grey((24, 20, 3)), "JPEG")),
    "CMYK JPEG": lambda: (".jpg", _cmyk()),
    "constant": lambda: (".png", encoded(np.full((24, 20), 7, np.uint8), "PNG")),
    "one pixel": lambda: (".png", encoded(np.full((1, 1), 7, np.uint8), "PNG")),
    "claims 2^31 rows": lambda: (".png", png(2**31 - 1, 2**31 - 1, zlib.compress(b"\0"))),
    "claims 100000 x 100000": lambda: (".png", png(100_000, 100_000, zlib.compress(b"\0" * 1000))),
    "bomb of 20000 x 20000": lambda: (".png", png(20_000, 20_000, packed_zeros(20_001 * 20_000))),
    "bomb of 12000 x 12000": lambda: (".png", png(12_000, 12_000, packed_zeros(12_001 * 12_000))),
    "no pixels": lambda: (".png", png(24, 20, b"")),
    "width 0": lambda: (".png", png(0, 20, zlib.compress(b"\0" * 20))),
    "wrong checksum": lambda: (".png", patched(GOOD[".png"], 29, b"\0\0\0\0")),
    "text chunk bomb": lambda: (
        ".png",
        GOOD[".png"][:33] + chunk(b"zTXt", b"k\0\0" + packed_zeros(2**27)) + GOOD[".png"][33:],
    ),
    "several pages": lambda: (".tif", pages()),
    "complex numbers": lambda: (".tif", tiff(grey().astype(np.complex64))),
    "NaN in TIFF": lambda: (".tif", tiff(with_nan(np.nan))),
    "TIFF directory that points at itself": lambda: (".tif", _endless_tiff()),
    "TIFF that claims a terabyte": lambda: (".tif", _huge_tiff()),
    "TIFF whose directory lies outside": lambda: (".tif", b"II*\0" + struct.pack("<I", 2**31)),
    "NaN": lambda: (".npy", npy(with_nan(np.nan))),
    "infinity": lambda: (".npy", npy(with_nan(np.inf))),
    "beyond single precision": lambda: (".npy", npy(with_nan(0).astype(np.float64) + 1e300 * np.eye(24, 20))),
    "constant array": lambda: (".npy", npy(np.ones((24, 20)))),
    "one number": lambda: (".npy", npy(np.float32(3))),
    "one row": lambda: (".npy", npy(np.arange(9.0))),
    "four axes": lambda: (".npy", npy(np.random.default_rng(0).random((2, 3, 4, 5)))),
    "no values": lambda: (".npy", npy(np.zeros((0, 20)))),
    "complex array": lambda: (".npy", npy(np.ones((4, 5), complex))),
    "words": lambda: (".npy", npy(np.array([["a", "b"], ["c", "d"]]))),
    "dates": lambda: (".npy", npy(np.zeros((4, 5), "datetime64[s]"))),
    "records": lambda: (".npy", npy(np.zeros((4, 5), [("a", "f4"), ("b", "i4")]))),
    "objects, pickled": lambda: (".npy", npy(np.array([[1, "x"], [None, 2]], object), pickled=True)),
    "claims a petabyte": lambda: (
        ".npy",
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1073741824, 1048576), }"),
    ),
    "claims more than it holds": lambda: (
        ".npy",
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (24, 2000), }", bytes(4 * 24 * 20)),
    ),
    "negative shape": lambda: (".npy", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-24, 20), }")),
    "code in its header": lambda: (
        ".npy",
        npy_header("{'descr': __import__('os').mkdir('x'), 'fortran_order': False, 'shape': (4,), }"),
    ),
    "header without end": lambda: (".npy", npy_header("{'descr': '<f4', " + "(" * 90)),
    "header of 64 KB": lambda: (".npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
    "archive of arrays": lambda: (".npy", zip_of(npy(grey()), "a.npy")),
}


def _cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey((24, 20, 4)), "CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def _directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def _endless_tiff() -> bytes:
    content = GOOD[".tif"]
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    return patched(content, start + 2 + 12 * count, struct.pack("<I", start))


def _huge_tiff() -> bytes:
    entries = [
        (256, 4, 1, 2**20), (257, 4, 1, 2**20), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200),
        (277, 3, 1, 1), (278, 4, 1, 2**20), (279, 4, 1, 2**31 - 1),
    ]  # fmt: skip
    return b"II*\0" + struct.pack("<I", 8) + _directory(entries, 0) + bytes(500)


def defects() -> Iterator[Defect]:
    rng = np.random.default_rng(0)
    for suffix, good in GOOD.items():
        for name, damage in DAMAGES.items():
            yield from _both(suffix, name, damage(good, rng))
        for name, misplace in MISPLACED.items():
            yield from _both(suffix, name, good, misplace)
    for name, made in STRANGE.items():
        yield from _both_lazily(name, made)
    other = {".png": ".tif", ".tif": ".jpg", ".jpg": ".npy", ".npy": ".png"}
    for suffix, wrong in other.items():
        if (suffix, wrong) not in ((".png", ".tif"), (".tif", ".jpg")):  # pictures are known by their content
            yield from _both(wrong, f"is {suffix}", GOOD[suffix])


def _both(
    suffix: str, name: str, content: bytes, misplace: Callable[[Path], None] = lambda _: None
) -> Iterator[Defect]:
    yield Defect(suffix, f"{name}, import", _importing(suffix, lambda: content, misplace), f"bad{suffix}")
    yield Defect(suffix, f"{name}, attribute", _attributing(suffix, lambda: content, misplace), f"bad{suffix}")


def _both_lazily(name: str, made: Callable[[], tuple[str, bytes]]) -> Iterator[Defect]:
    suffix = ".png" if "bomb" in name else made()[0]  # bombs are made when they are needed
    content = lambda: made()[1]  # noqa: E731
    yield Defect(suffix, f"{name}, import", _importing(suffix, content), f"bad{suffix}")
    yield Defect(suffix, f"{name}, attribute", _attributing(suffix, content), f"bad{suffix}")


def _importing(
    suffix: str, content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None
) -> Callable[[Workshop, Path], Command]:
    def make(_: Workshop, place: Path) -> Command:
        for name in ("healthy", "ill"):
            (place / "src" / name).mkdir(parents=True)
            for number in range(3):
                np.save(place / "src" / name / f"{number}.npy", grey(seed=number))
        bad = place / "src" / "ill" / f"bad{suffix}"
        bad.write_bytes(content())
        misplace(bad)
        (place / "table.csv").write_text(
            "image,class\n"
            + "".join(f"src/{name}/{number}.npy,{name}\n" for name in ("healthy", "ill") for number in range(3))
            + f"src/ill/bad{suffix},ill\n",
            encoding="utf-8",
        )
        return ["import", "csv", place / "table.csv", place / "out"]

    return make


def _attributing(
    suffix: str, content: Callable[[], bytes], misplace: Callable[[Path], None] = lambda _: None
) -> Callable[[Workshop, Path], Command]:
    def make(workshop: Workshop, place: Path) -> Command:
        bad = place / f"bad{suffix}"
        bad.write_bytes(content())
        misplace(bad)
        np.save(place / "good.npy", grey())
        return ["attribute", workshop.model, place / "good.npy", bad, "--out", place / "maps"]

    return make
