import logging
import struct
import zlib

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from vagan.data.image_file import read_image
from vagan.errors import ImageFileError

NOISE = np.random.default_rng(0).integers(0, 255, (60, 70), dtype=np.uint8)


@pytest.fixture
def grey():
    return np.arange(7 * 5, dtype=np.uint8).reshape(7, 5)


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_a_grey_image_is_one_channel_of_rows_and_columns(suffix, grey, tmp_path):
    path = tmp_path / f"image.{suffix}"
    for pixels in (grey, 9 * grey.astype(np.uint16) + 60_000, np.stack([grey] * 3, axis=-1)):
        if suffix == "npy" and pixels.ndim == 3:
            continue
        np.save(path, pixels) if suffix == "npy" else imageio.imwrite(path, pixels)
        file = read_image(path)
        assert np.array_equal(file.array, (pixels[..., 0] if pixels.ndim == 3 else pixels)[None].astype(np.float32))


def test_colour_is_converted_only_when_asked(tmp_path):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[..., 1] = np.arange(24).reshape(4, 6) * 10
    imageio.imwrite(tmp_path / "a.png", colour)
    with pytest.raises(ImageFileError, match="colour"):
        read_image(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png", "grey").array[0], 0.7152 * colour[..., 1], rtol=1e-6)
    assert np.array_equal(read_image(tmp_path / "a.png", "rgb").array, np.moveaxis(colour, -1, 0))


def test_an_opaque_alpha_channel_is_dropped_and_another_refused(grey, tmp_path):
    opaque = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    imageio.imwrite(tmp_path / "a.png", opaque)
    assert read_image(tmp_path / "a.png").array.shape == (1, 7, 5)
    imageio.imwrite(tmp_path / "b.png", np.stack([grey, grey, grey, grey], axis=-1))
    with pytest.raises(ImageFileError, match="partly transparent"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, np.nan], [0, 1]]), "holds NaN"),
        (np.array([[1.0, np.inf], [0, 1]]), "holds NaN or infinite"),
        (np.full((4, 5), 3.0), "constant: every pixel is 3"),
        (np.arange(5.0), "2-D or 3-D image"),
        (np.zeros((2, 2, 2, 2)), r"found shape \(2, 2, 2, 2\)"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([[1j, 2]]), "real numbers"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageFileError, match=message):
        read_image(tmp_path / "a.npy")


@pytest.mark.parametrize("pages", [1, 2])
def test_a_picture_whose_pages_lead_in_a_circle_is_refused(pages, grey, tmp_path, caplog):
    """Where the last directory names the first one as the next, its reader would run for ever, or only log it."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, [grey] * pages if pages > 1 else grey, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    content = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", content, offsets[-1])
    struct.pack_into("<I", content, offsets[-1] + 2 + 12 * entries, offsets[0])
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=r"a\.tif cannot be read as an image: .* cycle"):
        read_image(path)
    logging.getLogger("tifffile").warning("only a warning")
    assert [record.getMessage() for record in caplog.records] == ["only a warning"]


def test_of_a_picture_that_is_refused_its_reader_says_nothing_besides(tmp_path, caplog):
    """A TIFF whose first directory lies outside of it, and a PNG that claims more pixels than Pillow likes."""
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 2**31))
    header = b"IHDR" + struct.pack(">2I5B", 12_000, 12_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")
    for name, message in (("a.tif", "cannot be read"), ("a.png", r"12000, 12000")):
        with pytest.raises(ImageFileError, match=message):
            read_image(tmp_path / name)
    assert not caplog.records


def test_arrays_that_are_archives_empty_absurd_pickled_or_damaged_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((0, 5)))
    with (tmp_path / "c.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**20)})
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, (\n"
    (tmp_path / "e.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for name in "abcde":
        with pytest.raises(ImageFileError, match=f"{name}.npy cannot be read as a NumPy array"):
            read_image(tmp_path / f"{name}.npy")
