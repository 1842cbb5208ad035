"""Prepared images of a study in one folder, ``manifest.csv`` and ``cohort.zarr``: a PyTorch dataset."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pandas as pd
import torch
import zarr
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset
from zarr.codecs import BloscCodec

from vagan.axes import block_means
from vagan.constants import MAX_VALUES
from vagan.data.manifest import SPLITS, Manifest
from vagan.data.schema import ARRAYS, COHORT, MANIFEST, STORE, CohortCase, CohortMetadata
from vagan.errors import CohortError, first_line, nearest
from vagan.files import new_folder, regular
from vagan.progress import track
from vagan.types import Images

READ_BLOCK = 64
LARGE_BYTES = 2**18
"""Images of at least this size are read one by one in several threads; indexing every voxel is slower."""
READERS = 8
NO_COVARIATES = frozenset({"id", "subject", "session", "label", "class", "split", "image", "effect"})
"""Columns of a manifest that identify an image; all others are covariates."""


class CohortItem(NamedTuple):
    """One image, as `torch.utils.data.default_collate` can batch it."""

    image: Float[Tensor, "channel *space"]
    label: int
    """0 for the baseline class, 1.. for the classes of interest."""
    row: int
    """Position in the cohort."""


class Cohort(Dataset[CohortItem]):
    """A cohort folder, opened for reading: a map-style PyTorch dataset of all its images.

    Only the table is held in memory; images are read when they are asked for. A cohort can be pickled, so that worker
    processes of a ``DataLoader`` open the same folder.

    Row i of ``manifest`` describes index i of the arrays; ``metadata`` is what is true of all images. Raises
    `CohortError` if the folder is no cohort, or is damaged.

    Examples
    --------
    >>> cohort = Cohort("cohort")  # doctest: +SKIP
    >>> loader = DataLoader(cohort.select(split="train"), batch_size=8, shuffle=True)  # doctest: +SKIP
    >>> image, label, row = next(iter(loader))  # doctest: +SKIP
    """

    def __init__(self, path: Path | str) -> None:
        try:
            self._open(Path(path))
        except CohortError:  # it may have been replaced as a whole while it was read
            self._open(Path(path))

    def _open(self, path: Path) -> None:
        if not (path / STORE).is_dir() or not (path / MANIFEST).is_file():
            raise CohortError(
                f"a cohort folder must hold {MANIFEST} and {STORE}: {path} does not; "
                "make one with `vagan synth` or `vagan import`"
            )
        self.path = path
        self._held: tuple[NDArray[np.int64], Images] | None = None
        self._block = 1
        self._opened = _states(path)
        self.manifest = Manifest.read(path / MANIFEST)
        try:
            self.metadata, self._arrays = _open_store(path / STORE)
        except Exception as error:  # damaged metadata raise whatever they lead to
            raise CohortError(f"{path / STORE} is damaged ({first_line(error)}); make the cohort again") from error
        count = self._arrays["images"].shape[0]
        if len(self.manifest) != count:
            raise CohortError(f"{path} must have as many rows as images: {len(self.manifest)} rows, {count} images")
        for name, array in self._arrays.items():
            shards = range(-(-array.shape[0] // (array.shards or array.chunks)[0]))
            files = [path.joinpath(STORE, name, "c", str(shard), *["0"] * (array.ndim - 1)) for shard in shards]
            if lost := next((file for file in files if not file.is_file()), None):
                raise CohortError(f"images are lost: there is no such file as {lost}; make the cohort again")
        self._require_unchanged()

    @classmethod
    def synthetic(cls, path: Path | str, n: int = 10_000, **options: Any) -> "Cohort":
        """Write the paper's synthetic cohort of ``n`` images, with exact effects.

        Options are those of `vagan.data.sources.synthetic.make_synthetic_cohort`, such as ``size=(112, 112)``,
        ``seed=0`` and ``intensity="per-image"``.
        """
        from vagan.data.sources.synthetic import make_synthetic_cohort

        return make_synthetic_cohort(path, n=n, **options)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return int(self._arrays["images"].shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of every image."""
        return tuple(-(-extent // self._block) for extent in self._arrays["images"].shape[2:])

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

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> CohortItem:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[CohortItem]:
        """Several images at once, as a ``DataLoader`` asks for a batch: faster than one by one."""
        rows = np.arange(len(self))[list(indices)]  # IndexError beyond the end, which ends a loop over the cohort
        labels = self.manifest.table["label"].to_numpy()
        return [
            CohortItem(image, int(labels[row]), int(row)) for row, image in zip(rows, self.images(rows), strict=True)
        ]

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        return _reopened, (self.path, self.metadata.content_hash)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return (
            f"Cohort({str(self.path)!r}: {len(self)} images of {shape}, classes {', '.join(self.manifest.classes)})"
        )

    def select(self, split: str | None = None, label: int | str | None = None) -> "Selection":
        """Images of one split, of one class, or of both; without arguments all.

        ``label`` is the number or name of a class; an unknown one, or an unknown split, is a `CohortError`.
        """
        table, classes = self.manifest.table, self.manifest.classes
        if split is not None and split not in SPLITS:
            raise CohortError(f"split must be one of {', '.join(SPLITS)}, found {split!r}")
        if isinstance(label, str):
            if label not in classes:
                raise CohortError(f"no class is called {label!r}; {nearest(label, classes)}")
            label = classes.index(label)
        if label is not None and label not in range(len(classes)):
            raise CohortError(f"label must be 0 to {len(classes) - 1}, found {label}")
        chosen = table["split"].isin(SPLITS if split is None else [split])
        if label is not None:
            chosen &= table["label"] == label
        return Selection(self, np.flatnonzero(chosen))

    def downsampled(self, factor: int) -> "Cohort":
        """The same cohort at a lower resolution: means over blocks of ``factor`` pixels along each axis."""
        if factor == 1:
            return self
        cohort = self._copy()
        cohort._block, cohort._held = self._block * factor, None
        return cohort

    def in_memory(self, rows: ArrayLike, *, memory_bytes: int) -> "Cohort":
        """The same cohort with these images in memory, if all fit into ``memory_bytes`` or are there already."""
        if self._held is not None and np.isin(rows, self._held[0]).all():
            return self
        rows, cohort = np.unique(np.asarray(rows, dtype=np.int64)), self._copy()
        if 4 * self.channels * math.prod(self.shape) * len(rows) <= memory_bytes:
            cohort._held = rows, self._read("images", rows)
        return cohort

    def images(self, indices: ArrayLike) -> Images:
        """Prepared images, in [-1, 1]."""
        if self._held is not None:
            rows, images = self._held
            if np.isin(indices, rows).all():
                return images[np.searchsorted(rows, indices)]
        return self._read("images", indices)

    def effects(self, indices: ArrayLike) -> Images:
        """True effects of these images."""
        return self._read("effects", indices)

    def counterfactuals(self, indices: ArrayLike) -> Images:
        """The same images as they would be without the class of interest."""
        return self._read("counterfactuals", indices)

    def regions(self, indices: ArrayLike) -> dict[str, NDArray[np.bool_]]:
        """Where each region is in these images, by name; ``(image, channel, *space)``."""
        numbers = self._read_whole("regions", indices).numpy()
        if self._block > 1:
            raise CohortError("regions are known at full resolution only")
        return {name: numbers == number for number, name in enumerate(self.metadata.regions, start=1)}

    def _copy(self) -> "Cohort":
        cohort = Cohort.__new__(Cohort)
        cohort.__dict__.update(self.__dict__)  # copy.copy would open the folder again
        return cohort

    def _read(self, name: str, indices: ArrayLike) -> Images:
        """Arrays of these images; at a lower resolution a part at a time, as the whole may not fit into memory."""
        if self._block == 1:
            return self._read_whole(name, indices)
        rows = np.asarray(indices, dtype=np.int64)
        parts = np.array_split(rows, max(1, -(-len(rows) // READ_BLOCK)))
        return torch.cat([block_means(self._read_whole(name, part), self._block) for part in parts])

    def _read_whole(self, name: str, indices: ArrayLike) -> Images:
        if name not in self._arrays:
            raise CohortError(f"{self.path} holds no {name}; this needs a cohort with known truth")
        array = self._arrays[name]
        # storage order, each image once: neighbours share a shard, which is then opened once
        rows = np.asarray(indices, dtype=np.int64)
        wanted, places = np.unique(np.where(rows < 0, rows + array.shape[0], rows), return_inverse=True)
        read = np.empty((len(wanted), *array.shape[1:]), np.float32)

        def read_one(place: int) -> None:
            read[place] = array[int(wanted[place])]

        try:
            if read[:1].nbytes >= LARGE_BYTES:
                with ThreadPoolExecutor(READERS) as readers:
                    list(readers.map(read_one, range(len(wanted))))  # all of them, and the first error
            else:
                for start in range(0, len(wanted), READ_BLOCK):
                    block = wanted[start : start + READ_BLOCK]
                    first, end = block[0], block[-1] + 1
                    # row by row, Zarr needs longer than for eight times as many rows at once
                    close = end - first <= 8 * len(block)
                    read[start : start + len(block)] = (
                        np.asarray(array[first:end])[block - first] if close else array.oindex[block]
                    )
        except Exception as error:  # damaged data raise whatever they lead to
            self._require_unchanged()
            raise CohortError(f"{name} of {self.path} are damaged ({error}); make the cohort again") from error
        self._require_unchanged()
        in_order = len(places) == len(wanted) and (np.diff(places) == 1).all()  # no second copy of many images
        return torch.from_numpy(read if in_order else read[places])

    def _require_unchanged(self) -> None:
        """Refuse images that may be others than the manifest describes."""
        if _states(self.path) != self._opened:
            raise CohortError(f"{self.path} was changed while it was in use; when nothing writes it, try again")


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Dataset[CohortItem]):
    """Some images of a cohort, in a fixed order; see `Cohort.select`. A slice of it is another one.

    Like the cohort it is a PyTorch dataset. Arrays are read from the folder each time that they are asked for.
    """

    cohort: Cohort
    rows: Int[np.ndarray, " image"]
    """Row of each image in the cohort."""

    @property
    def table(self) -> pd.DataFrame:
        """The rows of the manifest."""
        return self.cohort.manifest.table.iloc[self.rows].reset_index(drop=True)

    @property
    def ids(self) -> tuple[str, ...]:
        """Identifier of each image."""
        return tuple(self.table["id"])

    @property
    def labels(self) -> Int[Tensor, " image"]:
        """0 for the baseline class, 1.. for the classes of interest."""
        return torch.from_numpy(self.table["label"].to_numpy(dtype=np.int64, copy=True))

    @property
    def covariates(self) -> pd.DataFrame | None:
        """All other columns of the manifest, one row per image; None if there are no others."""
        table = self.table
        names = [name for name in table if name not in NO_COVARIATES]
        return table[names] if names else None

    @property
    def images(self) -> Images:
        """Prepared images, in [-1, 1]."""
        return self.cohort.images(self.rows)

    @property
    def effects(self) -> Images:
        """True effects, where the cohort knows them."""
        return self.cohort.effects(self.rows)

    @property
    def counterfactuals(self) -> Images:
        """The same images as they would be without the class of interest, where the cohort knows them."""
        return self.cohort.counterfactuals(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> CohortItem: ...
    @overload
    def __getitem__(self, index: slice) -> "Selection": ...
    def __getitem__(self, index: int | slice) -> "CohortItem | Selection":
        if isinstance(index, slice):
            return Selection(self.cohort, self.rows[index])
        return self.cohort[int(self.rows[index])]

    def __getitems__(self, indices: Sequence[int]) -> list[CohortItem]:
        return self.cohort.__getitems__(self.rows[list(indices)].tolist())

    def __repr__(self) -> str:
        labels = self.labels.tolist()
        counts = (f"{labels.count(label)} {name}" for label, name in enumerate(self.cohort.manifest.classes))
        return (
            f"Selection({len(self)} of {len(self.cohort)} images of {str(self.cohort.path)!r}: {', '.join(counts)})"
        )


def _reopened(path: Path, content_hash: str) -> Cohort:
    """The same cohort in another process."""
    cohort = Cohort(path)
    if cohort.metadata.content_hash != content_hash:
        raise CohortError(f"{path} was changed while it was in use: it holds another cohort; repeat the command")
    return cohort


def _states(path: Path) -> list[tuple[int, int, int]]:
    """Of the table and of the facts in a cohort folder: differs if one is replaced, rewritten, shortened or lost."""
    found = [file.stat() for file in (path / MANIFEST, path / STORE / "zarr.json") if file.is_file()]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in found]


def _open_store(path: Path) -> tuple[CohortMetadata, "dict[str, zarr.Array[Any]]"]:
    for entry in path.rglob("*"):
        if not entry.is_dir():
            regular(entry)
    store = zarr.open_group(path, mode="r", zarr_format=3)  # the second has a codec that unpickles
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized")  # missing arrays are reported below
        arrays = dict(store.arrays())
    if "images" not in arrays:
        raise ValueError("it holds no images")
    metadata = CohortMetadata.model_validate(dict(store.attrs))
    for name, array in arrays.items():  # before a request for one image is one for a terabyte
        shape, stored_together = array.shape, array.shards or array.chunks
        if len(shape) not in (4, 5) or array.dtype.kind != "f" or array.chunks[1:] != shape[1:]:
            raise ValueError(
                f"{name} must be floats (image, channel, *space) in chunks of whole images, found {array.dtype} "
                f"{shape} in chunks of {array.chunks}"
            )
        if not 0 < math.prod(stored_together) <= MAX_VALUES:
            raise ValueError(f"{name} must have 1 to {MAX_VALUES} values in a file, found {stored_together}")
    size, space = metadata.preparation.size, arrays["images"].shape[2:]
    if size is not None and len(size) != len(space):
        raise ValueError(f"it was made with the size {size}, and its images have the shape {space}")
    return metadata, arrays


CHUNK_BYTES, SHARD_BYTES = 2**18, 2**24
"""Of what is compressed together, and of a file of the store; at least one image."""


def write_cohort(
    path: Path,
    manifest: Manifest | Callable[[], Manifest],
    metadata: CohortMetadata,
    case_at: Callable[[int], CohortCase],
    *,
    num_images: int | None = None,
    threads: int | None = None,
) -> Cohort:
    """Write a cohort folder, new, empty or an older cohort that is replaced; it appears whole or not at all.

    ``manifest`` is the table; or, where it is known only after all images are written, a function that gives it, with
    ``num_images``. The content hash of ``metadata`` is filled in. ``case_at`` gives the arrays of a row. It is called
    once for each row, from several threads (by default one for each core), in no particular order, with one shard of
    cases per thread in memory. All cases must have the shapes and the fields of row 0.
    """
    count = len(manifest) if isinstance(manifest, Manifest) else num_images or 0
    first = case_at(0)
    chunk = max(1, CHUNK_BYTES // first.image.nbytes)
    shard = chunk * max(1, SHARD_BYTES // (chunk * first.image.nbytes))
    blocks = [range(start, min(start + shard, count)) for start in range(0, count, shard)]
    with new_folder(path, COHORT) as folder:
        store = zarr.open_group(folder / STORE, mode="w")
        arrays = {
            name: _create_array(store, name, (count, *getattr(first, field).shape), chunk, shard)
            for name, field in ARRAYS.items()
            if getattr(first, field) is not None
        }

        def write_block(rows: range) -> bytes:
            cases = [case_at(row) if row else first for row in rows]
            digests = [hashlib.blake2b() for _ in rows]
            for name, array in arrays.items():
                values = np.stack([getattr(case, ARRAYS[name]) for case in cases])
                array[rows.start : rows.stop] = values
                for digest, value in zip(digests, values, strict=True):
                    digest.update(value.tobytes())
            return b"".join(digest.digest() for digest in digests)

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            try:
                parts = list(track(pool.map(write_block, blocks), len(blocks), f"writing {path.name}"))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # if stopped, not to the end
        (manifest if isinstance(manifest, Manifest) else manifest()).write(folder / MANIFEST)
        content = hashlib.blake2b((folder / MANIFEST).read_bytes(), digest_size=16)
        for part in parts:
            content.update(part)
        store.attrs.update(metadata.model_copy(update={"content_hash": content.hexdigest()}).model_dump(mode="json"))
    return Cohort(path)


def _create_array(store: zarr.Group, name: str, shape: tuple[int, ...], chunk: int, shard: int) -> "zarr.Array[Any]":
    """Few chunks and files of small images: each costs a millisecond to read; one chunk for each large image."""
    return store.create_array(
        name,
        shape=shape,
        dtype="float32",
        fill_value=float("nan"),  # a chunk that is lost must not look like an image
        chunks=(chunk, *shape[1:]),
        shards=(shard, *shape[1:]) if shard > 1 else None,
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle"),
    )
