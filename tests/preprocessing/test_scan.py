import gzip
import locale
import struct

import nibabel as nib
import numpy as np
import pytest

from heads import SHAPE, ball, save_head
from vagan.data.volume import write_like
from vagan.errors import ImageFileError
from vagan.preprocessing.scan import read_scan


def save(path, array, affine, **header):
    image = nib.Nifti1Image(array, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "IAL"])
def test_every_orientation_is_read_as_the_same_head(codes, tmp_path):
    raw = read_scan(save_head(tmp_path / "a.nii.gz", codes=codes))
    array, affine = ball()
    assert np.array_equal(raw.scan.image, array)
    assert raw.scan.grid.affine == pytest.approx(affine)
    assert raw.volume.orientation_code == codes
    assert raw.warnings == ()


def test_mgz_is_read(tmp_path):
    array, affine = ball()
    nib.save(nib.MGHImage(array, affine), tmp_path / "a.mgz")
    raw = read_scan(tmp_path / "a.mgz")
    assert np.array_equal(raw.scan.image, array)
    assert raw.scan.grid.affine == pytest.approx(affine, abs=1e-4)


def defects(folder):
    """Name, file, and what the message must say."""
    array, affine = ball()
    yield "series", save(folder / "a.nii.gz", np.stack([array, array], -1), affine), "not a series"
    yield "slices", save(folder / "b.nii.gz", array[..., :2], affine), "at least 16 voxels"
    nan = array.copy()
    nan[0, 0, 0] = np.nan
    yield "nan", save(folder / "c.nii.gz", nan, affine), "1 NaN"
    yield "constant", save(folder / "d.nii.gz", np.full(SHAPE, 3.0, np.float32), affine), "constant"
    yield "metres", save(folder / "e.nii.gz", array, affine, xyzt_units=1), "must be in mm"
    yield "tiny", save(folder / "f.nii.gz", array, affine / [[1000], [1000], [1000], [1]]), "voxels of 0.2 to 10 mm"
    yield "small", save(folder / "g.nii.gz", array, affine / [[3], [3], [3], [1]]), "cover a head"
    yield "ct", save(folder / "h.nii.gz", np.where(array > 0, array, -1000).astype(np.float32), affine), "CT"
    placeless = nib.Nifti1Image(array, None)
    placeless.header["pixdim"][1:4] = (5, 6, 7)
    nib.save(placeless, folder / "i.nii.gz")
    yield "placeless", folder / "i.nii.gz", "neither qform nor sform"
    whole = save_head(folder / "j.nii.gz").read_bytes()
    (folder / "k.nii.gz").write_bytes(whole[: len(whole) // 2])
    yield "truncated", folder / "k.nii.gz", "is the file complete?"
    huge = bytearray(gzip.decompress(whole))
    huge[40:56] = struct.pack("<8h", 3, 32000, 32000, 32000, 1, 1, 1, 1)
    (folder / "l.nii").write_bytes(huge)
    yield "huge", folder / "l.nii", "at most 2^27"
    yield "absent", folder / "no such head ü.nii.gz", "does not exist"
    (folder / "m.txt").write_text("no head", encoding="utf-8")
    yield "text", folder / "m.txt", "not a scan"


def test_what_cannot_be_a_head_is_refused_in_one_line_that_names_the_file(tmp_path):
    for name, path, words in defects(tmp_path):
        with pytest.raises(ImageFileError) as caught:
            read_scan(path)
        message = str(caught.value)
        assert words in message, (name, message)
        assert path.name in message, (name, message)
        assert "\n" not in message, name


@pytest.mark.parametrize(
    ("moved", "words"),
    [(np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "differ by 5.0 mm"),
     (np.diag([-1, 1, 1, 1]), "which side is left")],
)  # fmt: skip
def test_two_places_that_disagree_are_a_warning_and_the_sform_is_taken(moved, words, tmp_path):
    array, affine = ball()
    image = nib.Nifti1Image(array, None)
    image.set_sform(affine, 1)
    image.set_qform(moved @ affine, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = read_scan(tmp_path / "a.nii.gz")
    assert words in raw.warnings[0]
    assert raw.scan.grid.affine == pytest.approx(affine)


class TestMasks:
    def test_a_mask_comes_with_its_scan_whatever_its_axes(self, tmp_path):
        array, affine = ball()
        head = save_head(tmp_path / "a.nii.gz", codes="LPS")
        save(tmp_path / "mask.nii.gz", (array > 0).astype(np.uint8), affine)
        assert np.array_equal(read_scan(head, tmp_path / "mask.nii.gz").scan.mask, array > 0)

    def test_a_mask_elsewhere_is_refused(self, tmp_path):
        array, affine = ball()
        head = save_head(tmp_path / "a.nii.gz")
        moved = affine.copy()
        moved[0, 3] += 1
        save(tmp_path / "mask.nii.gz", (array > 0).astype(np.uint8), moved)
        with pytest.raises(ImageFileError, match="on the grid of its scan"):
            read_scan(head, tmp_path / "mask.nii.gz")


class TestDicom:
    @pytest.fixture(autouse=True)
    def keep_locale(self):
        """What SimpleITK's DICOM writer leaves set to "C", in which text files are ASCII."""
        before = locale.setlocale(locale.LC_ALL)
        yield
        locale.setlocale(locale.LC_ALL, before)

    def series(self, folder, *, skip=()):
        """A series written by SimpleITK, slice by slice."""
        import SimpleITK as sitk

        from vagan.geometry import Grid
        from vagan.preprocessing.itk import to_itk

        array, affine = ball()
        image = sitk.Cast(to_itk(array.round(), Grid(array.shape, affine)), sitk.sitkInt16)
        folder.mkdir()
        for number in range(image.GetDepth()):
            if number in skip:
                continue
            part = image[:, :, number]
            flat = sitk.GetImageFromArray(sitk.GetArrayFromImage(part)[None])
            flat.SetSpacing(image.GetSpacing())
            position = image.TransformIndexToPhysicalPoint((0, 0, number))
            direction = image.GetDirection()
            tags = {
                "0008|0060": "MR",
                "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
                "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
                "0020|0013": str(number + 1),
                "0020|0032": "\\".join(f"{value:g}" for value in position),
                "0020|0037": "\\".join(f"{direction[i]:g}" for i in (0, 3, 6, 1, 4, 7)),
                "0028|0030": "\\".join(f"{image.GetSpacing()[i]:g}" for i in (1, 0)),
            }
            for tag, value in tags.items():
                flat.SetMetaData(tag, value)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(folder / f"{number:03d}.dcm"))
            writer.Execute(flat)
        return array, affine

    def test_a_series_is_read_in_its_place(self, tmp_path):
        array, affine = self.series(tmp_path / "dicom")
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        raw = read_scan(tmp_path / "dicom")
        assert locale.setlocale(locale.LC_CTYPE) == "C.UTF-8"  # reading, unlike writing, leaves it alone
        assert raw.scan.image == pytest.approx(array.round())
        assert raw.scan.grid.affine == pytest.approx(affine, abs=1e-3)

    def test_a_map_is_written_on_the_series_own_grid(self, tmp_path):
        array, affine = self.series(tmp_path / "dicom")
        raw = read_scan(tmp_path / "dicom")
        write_like(tmp_path / "map.nii.gz", raw.scan.image, raw.volume)
        written = nib.load(tmp_path / "map.nii.gz")
        assert "".join(nib.aff2axcodes(written.affine)) == raw.volume.orientation_code
        assert written.shape == array.shape
        back = read_scan(tmp_path / "map.nii.gz").scan
        assert np.array_equal(back.image, raw.scan.image)
        assert back.grid.affine == pytest.approx(affine, abs=1e-3)

    def test_a_missing_slice_is_told(self, tmp_path):
        self.series(tmp_path / "dicom", skip=(9,))
        with pytest.raises(ImageFileError, match="lacks slices"):
            read_scan(tmp_path / "dicom")

    @pytest.mark.parametrize("rows", [1, 65000])
    def test_slices_that_claim_more_pixels_than_they_hold_are_refused(self, tmp_path, rows):
        """Their reader takes what lies behind in memory."""
        array, _ = self.series(tmp_path / "dicom")
        for path in (tmp_path / "dicom").iterdir():
            content = path.read_bytes()
            at = content.index(b"\x28\x00\x10\x00") + 8  # behind the tag
            claimed = int.from_bytes(content[at : at + 2], "little") + rows
            path.write_bytes(content[:at] + claimed.to_bytes(2, "little") + content[at + 2 :])
        held = 2 * array.size // len(list((tmp_path / "dicom").iterdir()))
        with pytest.raises(ImageFileError, match=f"found {held}"):
            read_scan(tmp_path / "dicom")

    def test_a_folder_without_a_series_is_told(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ImageFileError, match="one DICOM series, found none"):
            read_scan(tmp_path / "empty")
