import io

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from pydicom.uid import DigitalXRayImageStorageForPresentation, RLELossless  # noqa: E402

from dicoms import file_dataset  # noqa: E402
from vagan.data.image_file import read_image  # noqa: E402
from vagan.data.picture import decode_dicom_picture, is_dicom  # noqa: E402
from vagan.errors import ImageFileError  # noqa: E402

STORED = (np.add.outer(np.arange(9) * 300, np.arange(14) * 20) % 4096).astype(np.uint16)


def dicom(pixels=STORED, interpretation="MONOCHROME2", bits=12, *, compressed=False, **header):
    image = {
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "PixelData": pixels.tobytes(),
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3, "PhotometricInterpretation": interpretation,
        "BitsAllocated": 8 * pixels.itemsize, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(np.issubdtype(pixels.dtype, np.signedinteger)),
    } | ({"PlanarConfiguration": 0} if pixels.ndim == 3 else {})  # fmt: skip
    dataset = file_dataset(DigitalXRayImageStorageForPresentation, **image | header)
    if compressed:
        dataset.compress(RLELossless)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_what_a_viewer_shows():
    """Rescale before the window, which maps 1000 to 3000 on the whole range; both by hand."""
    assert np.array_equal(decode_dicom_picture(dicom()), STORED)
    rescaled = decode_dicom_picture(dicom(RescaleSlope=2, RescaleIntercept=-100))
    assert np.array_equal(rescaled, 2.0 * STORED - 100)
    shown = decode_dicom_picture(dicom(WindowCenter=2000, WindowWidth=2001))
    expected = np.clip((STORED - 1000.0) / 2000, 0, 1) * 4095  # DICOM PS3.3 C.11.2.1.2 with c - 0.5 and w - 1
    assert np.abs(shown - expected).max() < 2.1


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 2001}])
def test_white_is_low_in_monochrome1(window):
    straight = decode_dicom_picture(dicom(**window))
    inverted = decode_dicom_picture(dicom(4095 - STORED, "MONOCHROME1", **_mirrored(window)))
    assert np.abs(straight - inverted).max() < 2.1


def _mirrored(window):
    return {**window, "WindowCenter": 4095 - window["WindowCenter"] + 1} if window else {}


def test_signed_pixels_keep_their_sign_and_all_images_one_range():
    signed = STORED.astype(np.int16) - 2048
    assert np.array_equal(decode_dicom_picture(dicom(signed)), signed)
    dark, bright = STORED // 4, STORED // 4 + 3000
    found = [decode_dicom_picture(dicom(pixels, "MONOCHROME1")) for pixels in (dark, bright)]
    assert np.array_equal(found[0], 4095 - dark)
    assert np.array_equal(found[1], 4095 - bright)


def test_compressed_pixels_and_colour():
    assert np.array_equal(decode_dicom_picture(dicom(compressed=True)), STORED)
    colour = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    assert np.array_equal(decode_dicom_picture(dicom(colour, "RGB", bits=8)), colour)
    from pydicom.pixels.processing import convert_color_space

    ycbcr = convert_color_space(colour, "RGB", "YBR_FULL")
    assert np.abs(decode_dicom_picture(dicom(ycbcr, "YBR_FULL", bits=8)).astype(int) - colour).max() <= 2


def test_an_independent_reader_agrees(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(RescaleSlope=2, RescaleIntercept=-100))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path))[0], read_image(path).array[0])


def test_several_frames_no_pixels_and_sizes_beyond_the_limit_are_refused(tmp_path):
    for header, found in (({"NumberOfFrames": 3}, "3 frames"), ({"Rows": 60000, "Columns": 60000}, "60000")):
        path = tmp_path / "a.dcm"
        path.write_bytes(dicom(**header))
        with pytest.raises(ImageFileError, match=found):
            read_image(path)
    assert not is_dicom(b"\x89PNG" + bytes(200))
