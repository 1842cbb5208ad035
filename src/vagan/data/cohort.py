"""Prepared images of a study in one folder: ``manifest.csv`` and ``cohort.zarr``. All later work reads only this."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import zarr
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from zarr.codecs import BloscCodec

from vagan.data.image_file import LARGEST_VALUES
from vagan.data.manifest import SPLITS, Manifest
from vagan.data.preparation import Preparation
from vagan.errors import CohortError
from vagan.files import new_folder, regular
from vagan.notebook import facts_html, pictures_html, table_html
from vagan.progress import track
from vagan.types import Images

MANIFEST = "manifest.csv"
STORE = "cohort.zarr"
DROPPED = "dropped.csv"
OURS = frozenset({MANIFEST, STORE, DROPPED})
"""All that a cohort folder holds; a folder with anything else in it is never replaced."""

SHARD_BYTES = 2**24
READ_BLOCK = 256
LARGE_BYTES = 2**18
"""Images from here on are read one by one, by several threads: an index of every voxel takes longer than that."""
READERS = 8
FIELDS = {"images": "image", "effects": "effect", "counterfactuals": "counterfactual", "regions": "regions"}


class CohortFacts(BaseModel):
    """What is true of all images; the store's attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """How the cohort was made, in words."""
    preparation: Preparation
    spacing_mm: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    """Takes voxel indices to mm, four by four."""
    pipeline: dict[str, list[dict[str, Any]]] | None = None
    """Of scans: the preprocessing that new scans must go through too; see ``vagan.preprocessing``."""
    made_from: str = ""
    """Of scans: digest of the inputs and settings of the prepared files that the cohort was packed from."""
    regions: tuple[str, ...] = ()
    """Names of the regions where the class acts, where the cohort knows them: numbered from 1 in ``regions``."""
    content_hash: str = ""
    """Digest of the table and of every pixel; the same data give the same digest."""

    @field_validator("affine")
    @classmethod
    def _places_voxels(cls, rows: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
        if rows is None:
            return None
        if [len(row) for row in rows] != [4] * 4:
            raise ValueError("the affine must have four rows of four numbers")
        affine = np.array(rows)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError("the affine must be finite and not flat")
        return rows


@dataclass(frozen=True)
class CohortCase:
    """Prepared arrays of one image, each ``(channel, *space)``."""

    image: NDArray[np.float32]
    effect: NDArray[np.float32] | None = None
    """True or observed effect of the class."""
    counterfactual: NDArray[np.float32] | None = None
    """The same image without the effect, prepared by the same rule; gives the ceiling of scores."""
    regions: NDArray[np.float32] | None = None
    """Number of the region that a pixel belongs to, from 1; 0 elsewhere."""


class Cohort:
    """A cohort folder, opened for reading.

    Attributes
    ----------
    manifest
        Row i describes index i of the arrays.
    facts
        What is true of all images.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        if not (path / STORE).is_dir() or not (path / MANIFEST).is_file():
            raise CohortError(
                f"a cohort folder must hold {MANIFEST} and {STORE}: {path} does not; "
                "make one with `vagan synth` or `vagan import`"
            )
        self.path = path
        self.manifest = Manifest.read(path / MANIFEST)
        try:
            self.facts, self._arrays = _open_store(path / STORE)
            shape = self._arrays["images"].shape
            for name, array in self._arrays.items():
                _require_images(name, array)
            size = self.facts.preparation.size
            if size is not None and len(size) != len(shape) - 2:
                raise ValueError(f"it was made with the size {size}, and its images have the shape {shape[2:]}")
        except Exception as error:  # damaged metadata raise whatever they lead to
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise CohortError(f"{path / STORE} is damaged ({first_line}); make the cohort again") from error
        if len(self.manifest) != shape[0]:
            raise CohortError(
                f"{MANIFEST} and {STORE} must describe the same images: "
                f"{len(self.manifest)} rows, {shape[0]} images in {path}"
            )
        for name, array in self._arrays.items():
            _require_stored(path / STORE / name, array)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return int(self._arrays["images"].shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of every image."""
        return tuple(self._arrays["images"].shape[2:])

    @property
    def has_effects(self) -> bool:
        """Whether true effects are known."""
        return "effects" in self._arrays

    @property
    def has_counterfactuals(self) -> bool:
        """Whether exact counterfactuals are known."""
        return "counterfactuals" in self._arrays

    @property
    def has_regions(self) -> bool:
        """Whether it is known which region each pixel belongs to."""
        return "regions" in self._arrays

    def _repr_html_(self) -> str:
        """What notebooks show: the facts, how many images of each class are in each part, and one of each class."""
        table, classes = self.manifest.table, self.manifest.classes
        facts = {
            "made of": self.facts.source,
            "images": f"{len(self.manifest)} of {' × '.join(map(str, self.shape))}, {self.channels} channel(s)",
            "subjects": table["subject"].nunique(),
            "true effects": "known" if self.has_effects else "not known",
            "hash": self.facts.content_hash,
        }
        splits = [split for split in SPLITS if (table["split"] == split).any()]
        counts = [[name, *(str(len(self.manifest.indices(s, k))) for s in splits)] for k, name in enumerate(classes)]
        shown = [int(np.flatnonzero(table["label"] == label)[0]) for label in range(len(classes))]
        pictures = [_middle_slice(image.numpy()) for image in self.images(shown)]
        return (
            facts_html(f"Cohort {self.path}", facts)
            + table_html(["class", *splits], counts)
            + pictures_html(pictures, classes)
        )

    def images(self, indices: ArrayLike) -> Images:
        """Prepared images, in [-1, 1]."""
        return self._read("images", indices)

    def effects(self, indices: ArrayLike) -> Images:
        """True effects of these images."""
        return self._read("effects", indices)

    def counterfactuals(self, indices: ArrayLike) -> Images:
        """The same images as they would be without the class of interest."""
        return self._read("counterfactuals", indices)

    def regions(self, indices: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """Where each region is in these images, by name; ``(image, channel, *space)``."""
        numbers = self._read("regions", indices).numpy()
        return {name: numbers == number for number, name in enumerate(self.facts.regions, start=1)}

    def _read(self, name: str, indices: ArrayLike) -> Images:
        if name not in self._arrays:
            raise CohortError(f"{self.path} holds no {name}; this needs a cohort with known truth")
        array = self._arrays[name]
        # storage order, each image once: neighbours share a shard, which is then opened once
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        read = np.empty((len(wanted), *array.shape[1:]), np.float32)

        def read_one(place: int) -> None:
            read[place] = array[int(wanted[place])]

        try:
            if read[:1].nbytes >= LARGE_BYTES:
                with ThreadPoolExecutor(READERS) as readers:
                    list(readers.map(read_one, range(len(wanted))))  # all of them, and the first error
            else:
                for start in range(0, len(wanted), READ_BLOCK):
                    read[start : start + READ_BLOCK] = array.oindex[wanted[start : start + READ_BLOCK]]
        except Exception as error:  # damaged data raise whatever they lead to
            raise CohortError(f"{name} of {self.path} are damaged ({error}); make the cohort again") from error
        return torch.from_numpy(read[places])


def _open_store(path: Path) -> tuple[CohortFacts, "dict[str, zarr.Array[Any]]"]:
    """Facts and arrays of a store."""
    for entry in path.rglob("*"):
        if not entry.is_dir():
            regular(entry)
    store = zarr.open_group(path, mode="r", zarr_format=3)  # the second has a codec that unpickles
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized")  # what is missing is told below
        arrays = dict(store.arrays())
    if "images" not in arrays:
        raise ValueError("it holds no images")
    return CohortFacts.model_validate(dict(store.attrs)), arrays


def _require_stored(folder: Path, array: "zarr.Array[Any]") -> None:
    """Refuse an array that has lost a file: Zarr reads NaN there, and a training would end at it much later."""
    cases, inner = (array.shards or array.chunks)[0], ["0"] * (len(array.shape) - 1)
    for number in range(-(-array.shape[0] // cases)):
        file = folder.joinpath("c", str(number), *inner)
        if not file.is_file():
            raise CohortError(
                f"{file} must hold images of the cohort, but there is no such file; make the cohort again"
            )


def _require_images(name: str, array: "zarr.Array[Any]") -> None:
    """Refuse an array that is none of ours, before a request for one image is one for a terabyte."""
    shape, stored_together = array.shape, array.shards or array.chunks
    if len(shape) not in (4, 5) or array.dtype.kind != "f" or array.chunks != (1, *shape[1:]):
        raise ValueError(
            f"{name} must be floats (image, channel, *space) with a chunk for each image, found {array.dtype} "
            f"{shape} in chunks of {array.chunks}"
        )
    if not 0 < math.prod(stored_together) <= LARGEST_VALUES:
        raise ValueError(f"{name} must have 1 to {LARGEST_VALUES} values in a file, found {stored_together}")


def _middle_slice(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image as ``(height, width)``, channels averaged; of a volume an axial slice: right at the right."""
    flat = image.mean(axis=0)
    return flat if flat.ndim == 2 else flat[..., flat.shape[-1] // 2].T[::-1]


def write_cohort(
    path: Path,
    manifest: Manifest,
    facts: CohortFacts,
    case_at: Callable[[int], CohortCase],
    *,
    threads: int | None = None,
) -> Cohort:
    """Write a cohort folder; it appears whole or not at all.

    Parameters
    ----------
    path
        New or empty folder, or an older cohort, which is replaced.
    case_at
        Gives the arrays of a row of the manifest. Called from several threads, in no particular order, with
        one shard of cases per thread in memory. All cases must have the shapes and the fields of row 0.
    threads
        Default: one for each core.
    """
    first = case_at(0)
    shard = max(1, SHARD_BYTES // first.image.nbytes)
    blocks = [range(start, min(start + shard, len(manifest))) for start in range(0, len(manifest), shard)]
    with new_folder(path, OURS) as folder:
        manifest.write(folder / MANIFEST)
        store = zarr.open_group(folder / STORE, mode="w")
        arrays = {
            name: _create_array(store, name, len(manifest), getattr(first, field).shape, shard)
            for name, field in FIELDS.items()
            if getattr(first, field) is not None
        }

        def write_block(rows: range) -> bytes:
            cases = [case_at(row) for row in rows]
            digest = hashlib.blake2b()
            for name, array in arrays.items():
                values = np.stack([getattr(case, FIELDS[name]) for case in cases])
                array[rows.start : rows.stop] = values
                digest.update(values.tobytes())
            return digest.digest()

        whole = hashlib.blake2b((folder / MANIFEST).read_bytes(), digest_size=16)
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            try:
                for part in track(pool.map(write_block, blocks), len(blocks), f"writing {path.name}"):
                    whole.update(part)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # if stopped, not to the end
        store.attrs.update(facts.model_copy(update={"content_hash": whole.hexdigest()}).model_dump(mode="json"))
    return Cohort(path)


def _create_array(store: zarr.Group, name: str, count: int, shape: tuple[int, ...], shard: int) -> "zarr.Array[Any]":
    """One chunk for each image; small images share a file, so that a cohort is not ten thousand of them."""
    return store.create_array(
        name,
        shape=(count, *shape),
        dtype="float32",
        fill_value=float("nan"),  # a chunk that is lost must not look like an image
        chunks=(1, *shape),
        shards=(shard, *shape) if shard > 1 else None,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    )
