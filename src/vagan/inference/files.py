"""Image files to prepared images, and maps back to files: 2-D images, volumes and raw scans."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from vagan.constants import RANGE
from vagan.data.image_file import SUFFIXES, ImageFile, is_clutter, name_of, read_image
from vagan.data.preparation import Preparation, rescale_intensity
from vagan.data.volume import SUFFIXES as VOLUME_SUFFIXES
from vagan.data.volume import Volume, make_volume, write_vectors_like
from vagan.effect import difference
from vagan.errors import ImageFileError, ModelError, OutputError
from vagan.files import replacing, write_json
from vagan.inference.attribution import Array, Attribution, SavedMaps, SourceImage, View, first
from vagan.inference.lesions import write_mask
from vagan.inference.overlay import Overlays
from vagan.inference.sidecar import decision_of, describe, describe_deformation, extrapolations
from vagan.model.folder import ModelSpec
from vagan.types import Images

Affine = Sequence[Sequence[float]] | None
KINDS = ("effect", "overlay", "counterfactual", "log-jacobian", "displacement", "std", "sign-agreement", "mask")
"""Ends of the names of maps."""
IN_MM = "mm towards right, front and top"


@dataclass(frozen=True)
class FileImage:
    """A picture, array or volume, prepared as the training images were; see `SourceImage`."""

    file: ImageFile
    preparation: Preparation

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def volume(self) -> Volume | None:
        return self.file.volume

    @property
    def intensity_scale(self) -> float:
        low, high = self.preparation.range_of(self.file.array)
        return (high - low) / 2

    def prepared(self) -> Array:
        return self.preparation.apply(self.file.array)

    def write(self, stem: Path, kind: str, values: Array) -> tuple[Path, Array]:
        """Write on the file's own grid: NIfTI for NIfTI, else ``.npy``."""
        own = self._on_own_grid(values)
        return self.file.write_map(stem.parent, f"{stem.name}_{kind}", own), own

    def write_effect(self, stem: Path, one: Attribution, overlays: Overlays) -> tuple[Path, Array]:
        """Write both on the file's own grid, where interpolation must not lead out of [-1, 1]."""
        effect = first(one.effect)
        own = self._on_own_grid(effect)
        if one.counterfactual is not None:
            shown = self._shown()
            changed = shown + self._on_own_grid(first(one.counterfactual) - self.prepared())
            if own.shape != effect.shape:
                changed = changed.clip(*RANGE)
                own = difference(changed, shown) if one.inserts else difference(shown, changed)
            self.file.write_map(stem.parent, f"{stem.name}_counterfactual", changed)
            if changed.ndim == 3 and len(changed) in (1, 3):
                grey = ((changed.clip(*RANGE) + 1) * 127.5).round().astype(np.uint8)
                picture = Picture.fromarray(grey[0] if len(grey) == 1 else np.moveaxis(grey, 0, -1))
                with replacing(stem.with_name(f"{stem.name}_counterfactual.png")) as temporary:
                    picture.save(temporary, "PNG")
        overlays.add(stem.with_name(f"{stem.name}_overlay.png"), self._shown(), own)
        return self.file.write_map(stem.parent, f"{stem.name}_effect", own), own

    def write_displacement(self, stem: Path, field: Array) -> tuple[Array, str]:
        """Write a vector image in mm, or for files without a place in space an ``.npy`` of pixels, vectors last."""
        shape = self.file.array.shape[1:]
        if shape != field.shape[1:]:  # the image was resized, and pixels with it
            scales = np.array(shape) / field.shape[1:]
            parts = [scale * self._on_own_grid(part[None])[0] for scale, part in zip(scales, field, strict=True)]
            field = np.stack(parts).astype(np.float32)
        if self.file.volume is None:
            with replacing(stem.with_name(f"{stem.name}_displacement.npy")) as temporary:
                np.save(temporary, np.moveaxis(field, 0, -1))
            return field, "pixels along each axis"
        vectors = self.file.volume.vectors_mm(field)
        write_vectors_like(stem.with_name(f"{stem.name}_displacement.nii.gz"), vectors, self.file.volume)
        return vectors, IN_MM

    def view(self, effect: Array) -> View:
        """Image and effect on the file's own grid."""
        affine = None if self.file.volume is None else self.file.volume.affine
        return View(self._shown(), self._on_own_grid(effect), affine)

    def describe(self) -> dict[str, Any]:
        return {"preparation": self.preparation.model_dump(mode="json")}

    def _shown(self) -> Array:
        return rescale_intensity(self.file.array, *self.preparation.range_of(self.file.array))

    def _on_own_grid(self, values: Array) -> Array:
        return self.preparation.map_to_source(values, self.file.array.shape[1:])


def read_source(path: Path, spec: ModelSpec) -> SourceImage:
    """Read an image file for a model; of models of scans, raw ones too."""
    if spec.pipeline is not None:
        from vagan.inference.scans import read_scan_image  # needs an extra

        return read_scan_image(path, spec)
    file = read_image(path, spec.preparation.colour)
    channels, dims = len(file.array), file.array.ndim - 1
    if (channels, dims) != (spec.channels, spec.num_spatial_dims):
        raise ModelError(
            f"{path} is a {dims}-D image of {channels} channel(s); the model was trained on "
            f"{spec.num_spatial_dims}-D images of {spec.channels}"
        )
    return FileImage(file, spec.preparation)


def read_sources(paths: Sequence[Path], spec: ModelSpec) -> Iterator[SourceImage]:
    """Read image files one after the other; the first is given out after all were read once without an error."""
    for path in paths:
        read_source(path, spec)
    yield from (read_source(path, spec) for path in paths)


def prepared_batch(sources: Sequence[SourceImage]) -> Images:
    """Prepared images of one shape as a batch."""
    prepared = [source.prepared() for source in sources]
    shapes = sorted({array.shape for array in prepared})
    if len(shapes) > 1:
        found = " and ".join(map(str, shapes[:2]))
        raise ModelError(f"images of a batch must have one shape, found {found}; attribute them one by one")
    return torch.from_numpy(np.stack(prepared))


def as_files(images: Images, names: Sequence[str], affine: Affine = None) -> tuple[FileImage, ...]:
    """Prepared images as if they had been read from files; volumes with an affine from NIfTI files."""
    files = []
    for image, name in zip(images.numpy(force=True), names, strict=True):
        volume = None if affine is None else make_volume(image[0], np.array(affine))
        files.append(ImageFile(Path(name.replace("/", "_")), image, volume))
    return tuple(FileImage(file, Preparation()) for file in files)


def save_maps(
    one: Attribution, source: SourceImage, folder: Path, name: str, *, overlays: Overlays, threshold: float | None
) -> SavedMaps:
    """Write the maps of a single image, but for overlays, which are added to the others; see `Attribution.save`."""
    stem = folder / name
    path, own = source.write_effect(stem, one, overlays)
    about = describe(one, source, source.view(first(one.effect)).effect)
    if one.deformation is not None:
        _, log_jacobian = source.write(stem, "log-jacobian", first(one.deformation.log_jacobian))
        vectors, unit = source.write_displacement(stem, first(one.deformation.displacement))
        about |= describe_deformation(vectors, log_jacobian, unit)
    if one.uncertainty is not None:
        source.write(stem, "std", first(one.uncertainty.std))
        source.write(stem, "sign-agreement", first(one.uncertainty.sign_agreement))
    if threshold is not None:
        write_mask(stem, own, threshold, source.volume)
    about |= source.describe()
    write_json(stem.with_name(f"{stem.name}_effect.json"), about)
    is_ood = one.is_ood is not None and bool(one.is_ood[0])
    return SavedMaps(path, source.path, decision_of(one), is_ood, extrapolations(one))


def list_images(paths: Sequence[Path], spec: ModelSpec) -> list[Path]:
    """Files as they are, and instead of a folder the images in it; for models of scans a DICOM folder is one scan."""
    suffixes = SUFFIXES if spec.pipeline is None else VOLUME_SUFFIXES
    found = []
    for path in paths:
        entries = sorted(path.iterdir()) if path.is_dir() else []
        images = [one for one in entries if one.name.lower().endswith(suffixes) and not is_clutter(one.name)]
        if path.is_dir() and not images and spec.pipeline is None:
            raise ImageFileError(f"the folder {path} must hold images ({', '.join(SUFFIXES)}), but has none")
        found += images or [path]
    return found


def require_output(out: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse an output that is no folder, or in which a map would replace an image."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output must be a folder: {out} is a file; choose another name")
    maps = {f"{name}_{kind}" for name in names for kind in KINDS}
    for path in paths:
        if name_of(path) in maps and path.resolve().parent == out.resolve():
            raise OutputError(f"{path} would be replaced by a map of another image; choose another output folder")


def map_names(names: Sequence[str]) -> list[str]:
    """Names of the maps of images: without suffixes where these are not needed to tell the images apart.

    Raises `OutputError` if two images would have the same maps.
    """
    unique = _bare_names([Path(name.replace("/", "_")) for name in names])
    if repeated := next((name for name, count in Counter(unique).items() if count > 1), None):
        raise OutputError(f"maps are named after images, but two would be called {repeated}; give other names")
    return unique


def output_names(paths: Sequence[Path]) -> list[str]:
    """What maps are called: names of files without suffix, after as many folders as tell them apart."""
    if not paths:
        raise OutputError("no image was given; name at least one image file, or a folder")
    places = [Path(os.path.abspath(path)) for path in paths]  # links keep their names
    twice = next((place for place, count in Counter(places).items() if count > 1), None)
    if twice is not None:
        raise OutputError(f"maps are named after images, but {twice} was given twice; give it once")
    names = bare = _bare_names(places)
    for depth in range(1, max(len(place.parts) for place in places)):
        counts = Counter(names)
        if max(counts.values()) == 1:
            break
        names = [
            name if counts[name] == 1 else "_".join([*place.parts[1:-1][-depth:], own])
            for name, place, own in zip(names, places, bare, strict=True)
        ]
    return names


def _bare_names(paths: Sequence[Path]) -> list[str]:
    """Names of files without suffix, but with it where files in one folder differ in nothing else."""
    stems = Counter((path.parent, name_of(path)) for path in paths)
    return [
        name_of(path) if stems[path.parent, name_of(path)] == 1 else path.name.replace(".", "-") for path in paths
    ]
