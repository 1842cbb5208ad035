import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from heads import SHAPE, ball, save_head
from vagan.data.volume import make_volume, write_like
from vagan.errors import ImageFileError
from vagan.preprocessing.scan import read_scan
from vagan.preprocessing.sources import collect_scans


def save(path, array, affine, **header):
    image = nib.Nifti1Image(array, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


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
    for name, offset, form, values, words in (
        ("huge", 40, "8h", (3, 32000, 32000, 32000, 1, 1, 1, 1), "at most 2^27"),
        ("nine axes", 40, "h", (9,), ""),
        ("unknown type", 70, "h", (999,), ""),
        ("data behind the end", 108, "f", (1e30,), ""),
        ("affine of NaN", 252, "2h24x4f", (0, 1, *[np.nan] * 4), "affine"),
        ("flat affine", 252, "2h24x12f", (0, 1, *[0.0] * 12), "affine"),
    ):
        damaged = bytearray(gzip.decompress(whole))
        struct.pack_into(f"<{form}", damaged, offset, *values)
        (folder / f"{name}.nii").write_bytes(damaged)
        yield name, folder / f"{name}.nii", words
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


def test_a_mask_comes_with_its_scan_whatever_its_axes_and_only_from_its_place(tmp_path):
    array, affine = ball()
    head = save_head(tmp_path / "a.nii.gz", codes="LPS")
    save(tmp_path / "mask.nii.gz", (array > 0).astype(np.uint8), affine)
    scan = read_scan(head, tmp_path / "mask.nii.gz").scan
    assert np.array_equal(scan.image, array)
    assert np.array_equal(scan.mask, array > 0)
    affine[0, 3] += 1
    save(tmp_path / "mask.nii.gz", (array > 0).astype(np.uint8), affine)
    with pytest.raises(ImageFileError, match="on the grid of its scan"):
        read_scan(head, tmp_path / "mask.nii.gz")


def write_dicom(
    folder, *, enhanced=False, slope=lambda k: 1.0, shift=lambda k: (0.0,) * 3, places=None, uid="1.2.3", **header
):
    """Axial slices of the ball, signed, as single-frame files in a shuffled order or as one enhanced file."""
    from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

    from dicoms import file_dataset, group

    def dataset(groups):
        image = {
            "SeriesInstanceUID": uid, "SeriesNumber": 4, "StudyInstanceUID": "1.2", "Modality": "MR",
            "Rows": array.shape[1], "Columns": array.shape[0], "SamplesPerPixel": 1, "PixelRepresentation": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        }  # fmt: skip
        return file_dataset(EnhancedMRImageStorage if enhanced else MRImageStorage, **image | groups | header)

    array, affine = ball()
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    plane = {"ImageOrientationPatient": [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]}
    measures = {"PixelSpacing": [spacing[1], spacing[0]]}
    places = range(array.shape[2]) if places is None else places
    position = {k: [*(lps @ [0, 0, k, 1])[:3] + shift(k)] for k in places}
    stored = {k: np.round(array[..., k].T / slope(k)).astype("<i2") for k in places}
    folder.mkdir(exist_ok=True)
    if enhanced:
        made = dataset(
            {"NumberOfFrames": len(places), "PixelData": b"".join(one.tobytes() for one in stored.values())}
        )
        made.SharedFunctionalGroupsSequence = [
            group(PlaneOrientationSequence=[group(**plane)], PixelMeasuresSequence=[group(**measures)])
        ]
        made.PerFrameFunctionalGroupsSequence = [
            group(
                PlanePositionSequence=[group(ImagePositionPatient=position[k])],
                PixelValueTransformationSequence=[group(RescaleSlope=slope(k), RescaleIntercept=0)],
            )
            for k in places
        ]
        made.save_as(folder / f"{uid}.dcm", enforce_file_format=True)
        return
    for number, k in enumerate(np.random.default_rng(0).permutation(list(places))):
        own = plane | measures | {"ImagePositionPatient": position[k], "PixelData": stored[k].tobytes()}
        made = dataset(own | {"RescaleSlope": slope(k), "RescaleIntercept": 0})
        made.save_as(folder / f"{uid}-{number}", enforce_file_format=True)


def few(folder):
    write_dicom(folder, places=range(3), uid="1.9")


SLOPES = {"slope": lambda k: 0.25 + k / 1000}  # in ITK's integers the values would be rounded


class TestDicom:
    @pytest.mark.parametrize("enhanced", [False, True])
    @pytest.mark.parametrize(
        ("options", "beside", "warned"),
        [
            ({}, lambda folder: None, ""),
            (SLOPES, lambda folder: None, ""),
            ({}, lambda folder: (folder / ".DS_Store").write_bytes(b"Bud1"), ""),
            ({}, lambda folder: (folder / "0 notes.txt").write_text("hello"), "notes.txt was left out"),
            ({}, few, "series 4 was left out: 3 slices"),
            ({}, lambda folder: write_dicom(folder, uid="1.10", SeriesInstanceUID="1.2.3"), "slices were left out"),
        ],
    )  # fmt: skip
    def test_a_series_is_read_in_its_place(self, enhanced, options, beside, warned, tmp_path):
        """Also beside clutter, another format, a localizer and copies of its slices."""
        write_dicom(tmp_path / "dicom", enhanced=enhanced, **options)
        beside(tmp_path / "dicom")
        assert len(collect_scans(tmp_path)) == len(collect_scans(tmp_path / "dicom")) == 1
        raw = read_scan(tmp_path / "dicom")
        array, affine = ball()
        expected = np.stack(
            [np.round(array[..., k] / slope) * slope
             for k in range(array.shape[2]) for slope in [options.get("slope", lambda k: 1.0)(k)]], axis=-1
        )  # fmt: skip
        assert raw.scan.image == pytest.approx(expected, rel=1e-6)
        assert raw.scan.grid.affine == pytest.approx(affine, abs=1e-5)
        assert (warned in raw.warnings[0]) if warned else raw.warnings == ()

    @pytest.mark.parametrize("enhanced", [False, True])
    def test_an_independent_reader_agrees(self, enhanced, tmp_path):
        import SimpleITK as sitk

        write_dicom(tmp_path / "dicom", enhanced=enhanced)
        if enhanced:
            image = sitk.ReadImage(next((tmp_path / "dicom").iterdir()))
            image = image[..., 0] if image.GetDimension() == 4 else image
        else:
            image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "dicom")))
        volume = read_scan(tmp_path / "dicom").volume
        lps = np.eye(4)
        lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        lps[:3, 3] = image.GetOrigin()
        array = np.ascontiguousarray(sitk.GetArrayFromImage(image).T, np.float32)
        back = make_volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)
        assert np.array_equal(volume.array, back.array)
        assert volume.affine == pytest.approx(back.affine, abs=1e-5)

    def test_a_map_is_written_on_the_series_own_grid(self, tmp_path):
        write_dicom(tmp_path / "dicom")
        raw = read_scan(tmp_path / "dicom")
        write_like(tmp_path / "map.nii.gz", raw.scan.image, raw.volume)
        written = nib.load(tmp_path / "map.nii.gz")
        assert "".join(nib.aff2axcodes(written.affine)) == raw.volume.orientation_code
        back = read_scan(tmp_path / "map.nii.gz").scan
        assert np.array_equal(back.image, raw.scan.image)
        assert back.grid.affine == pytest.approx(raw.scan.grid.affine, abs=1e-5)

    @pytest.mark.parametrize("enhanced", [False, True])
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"places": [k for k in range(SHAPE[2]) if k != 9]}, "lacks slices"),
            ({"shift": lambda k: (0, 0, 0.3 * (k % 2))}, "unevenly spaced"),
            ({"shift": lambda k: (0, 0.7 * k, 0)}, "shifted by 0.7 mm"),
            ({"places": range(3)}, "16 slices or more in parallel planes, found none"),
            ({"Rows": SHAPE[1] + 1}, "cannot be read as DICOM"),
            ({"Rows": 65000, "Columns": 65000}, "65000"),
        ],
    )
    def test_what_is_no_even_stack_is_refused_with_the_numbers(self, enhanced, options, words, tmp_path):
        write_dicom(tmp_path / "dicom", enhanced=enhanced, **options)
        with pytest.raises(ImageFileError, match=words):
            read_scan(tmp_path / "dicom")

    def test_several_volumes_in_a_folder_are_refused(self, tmp_path):
        write_dicom(tmp_path / "dicom")
        write_dicom(tmp_path / "dicom", uid="1.5")
        with pytest.raises(ImageFileError, match="found 2: series 4"):
            read_scan(tmp_path / "dicom")
        write_dicom(tmp_path / "other")
        write_dicom(tmp_path / "other", uid="1.10", slope=lambda k: 2, SeriesInstanceUID="1.2.3")  # another echo
        with pytest.raises(ImageFileError, match="one image at each place"):
            read_scan(tmp_path / "other")
