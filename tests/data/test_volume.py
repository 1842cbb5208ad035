import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest

from heads import oriented
from vagan.data.image_file import read_image
from vagan.data.volume import read_volume, write_like, write_vectors_like
from vagan.errors import ImageFileError

SPACING_MM = (1.0, 1.5, 3.0)


def head(path, codes, shape=(5, 6, 7), spacing=SPACING_MM):
    """NIfTI in the given orientation; in RAS+ the voxel (4, 1, 2) from left, back, bottom is marked."""
    ras, affine = np.zeros(shape, np.float32), np.diag([*spacing, 1.0])
    ras[4, 1, 2], affine[:3, 3] = 9.0, (-10, 20, 5)
    nib.save(oriented(nib.Nifti1Image(ras, affine), codes), path)
    return ras, affine


ALL_CODES = [
    "".join(axes[i] if flips[i] else "LPI"["RAS".index(axes[i])] for i in range(3))
    for axes in itertools.permutations("RAS")
    for flips in itertools.product([True, False], repeat=3)
]


@pytest.mark.parametrize("codes", ALL_CODES)
def test_every_orientation_is_read_as_ras_and_written_back_on_its_own_grid(codes, tmp_path):
    ras, affine = head(tmp_path / "in.nii.gz", codes)
    volume = read_volume(tmp_path / "in.nii.gz")
    assert np.array_equal(volume.array, ras)
    np.testing.assert_allclose(volume.affine, affine)
    write_like(tmp_path / "out.nii.gz", volume.array * 2, volume)
    before, after = nib.load(tmp_path / "in.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_allclose(after.affine, before.affine)
    assert np.array_equal(after.get_fdata(), 2 * before.get_fdata())


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIL"])
@pytest.mark.parametrize("flat", [0, 1, 2])
def test_a_single_slice_is_two_dimensional_and_goes_back_to_its_grid(codes, flat, tmp_path):
    shape = [1 if axis == flat else extent for axis, extent in enumerate((5, 6, 7))]
    ras = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    nib.save(oriented(nib.Nifti1Image(ras, np.diag([*SPACING_MM, 1.0])), codes), tmp_path / "in.nii")
    file = read_image(tmp_path / "in.nii")
    assert np.array_equal(file.array[0], ras.squeeze())
    path = file.write_map(tmp_path, "map", file.array)
    assert path.name == "map.nii.gz"
    assert np.array_equal(nib.load(path).get_fdata(), nib.load(tmp_path / "in.nii").get_fdata())


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 1, 1), (5, 6, 7, 1)])
def test_shape_codes_and_units_of_the_file_are_kept(shape, tmp_path):
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.diag([1, 1.5, 3, 1]))
    image.header.set_slope_inter(0.5, 10)
    image.set_sform(image.affine, code=4)
    image.set_qform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "in.nii.gz")
    volume = read_volume(tmp_path / "in.nii.gz")
    write_like(tmp_path / "out.nii.gz", volume.array, volume)
    out = nib.load(tmp_path / "out.nii.gz")
    assert out.shape == shape
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (4, 1)
    assert out.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(out.header.get_sform(), image.affine)
    np.testing.assert_allclose(out.header.get_qform(), image.affine, atol=1e-6)
    assert np.array_equal(out.get_fdata(), nib.load(tmp_path / "in.nii.gz").get_fdata())


class TestVectors:
    """Displacements in voxels of the RAS+ axes, written as mm towards right, front and top."""

    @pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIL"])
    def test_in_every_orientation_they_point_from_where_they_are_to_where_they_should(self, codes, tmp_path):
        head(tmp_path / "in.nii.gz", codes)
        volume = read_volume(tmp_path / "in.nii.gz")
        field = np.zeros((3, 5, 6, 7), np.float32)
        field[:, 4, 1, 2] = (-2, 1, 3)  # from voxel (4, 1, 2) to voxel (2, 2, 5)
        write_vectors_like(tmp_path / "out.nii.gz", volume.vectors_mm(field), volume)
        written, own = nib.load(tmp_path / "out.nii.gz"), nib.load(tmp_path / "in.nii.gz")
        assert written.shape == (*own.shape, 1, 3)
        assert written.header.get_intent()[0] == "vector"
        np.testing.assert_allclose(written.affine, own.affine)
        (place,) = np.argwhere(own.get_fdata() == 9)  # the mark is at (4, 1, 2) from left, back, bottom
        np.testing.assert_allclose(written.get_fdata()[tuple(place)][0], (-2.0, 1.5, 9.0))
        assert np.abs(written.get_fdata()).sum() == 2.0 + 1.5 + 9.0

    def test_of_an_oblique_scan_they_follow_its_axes(self, tmp_path):
        turn, spacing = np.deg2rad(20), np.diag(SPACING_MM)
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3] = rotation @ spacing
        nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine), tmp_path / "in.nii")
        vectors = read_volume(tmp_path / "in.nii").vectors_mm(np.ones((3, 4, 5, 6), np.float32))
        np.testing.assert_allclose(vectors[:, 1, 2, 3], rotation @ SPACING_MM, rtol=1e-6)

    @pytest.mark.parametrize("flat", [0, 1, 2])
    def test_of_a_single_slice_they_stay_in_it(self, flat, tmp_path):
        shape = [5, 6, 7]
        shape[flat] = 1
        nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.diag([*SPACING_MM, 1.0])), tmp_path / "in.nii")
        volume = read_volume(tmp_path / "in.nii")
        vectors = volume.vectors_mm(np.ones((2, *volume.array.shape), np.float32))
        expected = [0.0 if axis == flat else step for axis, step in enumerate(SPACING_MM)]
        np.testing.assert_allclose(vectors[:, 0, 0], expected)
        write_vectors_like(tmp_path / "out.nii", vectors, volume)
        assert nib.load(tmp_path / "out.nii").shape == (*shape, 1, 3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_half_of_a_pair_and_complex_values_are_refused(suffix, tmp_path):
    path = tmp_path / f"bad{suffix}"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)), path)
    with pytest.raises(ImageFileError, match="one real number"):
        read_volume(path)
    head(tmp_path / "good.nii", "LPS")
    content = (tmp_path / "good.nii").read_bytes()
    content = content[:344] + b"ni1\0" + content[348:]
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(ImageFileError, match=rf"bad{suffix} .*one half of a pair"):
        read_volume(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", "<>")
def test_extensions_before_the_voxels_are_read_over(kind, endianness, tmp_path):
    ras, affine = head(tmp_path / "plain.nii", "RAS")
    image = kind(ras, affine, kind.header_class(endianness=endianness))
    for content in (b"scanned at noon", b"by nobody" * 9):
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", content))
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, ras)


@pytest.mark.parametrize(
    ("at", "content", "words"),
    [
        (0, b"\x5d\1\0\0", "header of 348 bytes, found one of 349"),
        (348, b"\1\0\0\0" + (64).to_bytes(4, "little"), "cannot be read as NIfTI"),
        (348, b"\1\0\0\0" + (4).to_bytes(4, "little"), "cannot be read as NIfTI"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_headers_of_another_length_or_with_damaged_extensions_are_refused(at, content, words, suffix, tmp_path):
    ras, affine = head(tmp_path / "plain.nii", "RAS")
    image = nib.Nifti1Image(ras, affine)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanned at noon"))
    nib.save(image, tmp_path / "good.nii")
    good = (tmp_path / "good.nii").read_bytes()
    bad = good[:at] + content + good[at + len(content) :]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(gzip.compress(bad) if suffix == ".nii.gz" else bad)
    with pytest.raises(ImageFileError, match=words):
        read_volume(path)


@pytest.mark.parametrize(("suffix", "kind"), [(".nii.gz", nib.Nifti1Image), (".mgz", nib.MGHImage)])
def test_a_compressed_file_that_is_not_as_it_was_written_is_refused(suffix, kind, tmp_path):
    path = tmp_path / f"a{suffix}"
    nib.save(kind(np.arange(210, dtype=np.float32).reshape(5, 6, 7), np.eye(4)), path)
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))
    with pytest.raises(ImageFileError, match=rf"a{suffix} cannot be read as NIfTI: CRC check failed"):
        read_volume(path)
    path.write_bytes(gzip.compress(gzip.decompress(content) + bytes(2**24 + 999)))
    with pytest.raises(ImageFileError, match=rf"a{suffix} cannot be read as NIfTI: it has more than"):
        read_volume(path)
    path.write_bytes(gzip.compress(gzip.decompress(content) + bytes(999)))
    assert read_volume(path).array.max() == 209


def test_written_maps_carry_geometry_alone(tmp_path):
    """No text, extension or intent of the source."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    source = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine)
    source.header["descrip"], source.header["aux_file"], source.header["db_name"] = b"JOHN", b"DOE", b"P007"
    source.header.set_intent("z score", name="SECRET")
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1950"))
    nib.save(source, tmp_path / "a.nii")
    write_like(tmp_path / "map.nii", np.ones((4, 5, 6), np.float32), read_volume(tmp_path / "a.nii"))
    content = (tmp_path / "map.nii").read_bytes()
    assert not [text for text in (b"JOHN", b"DOE", b"P007", b"SECRET", b"born") if text in content]
    assert nib.load(tmp_path / "map.nii").header.get_intent()[0] == "none"
