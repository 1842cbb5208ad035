"""Atomic writing of cohort folders."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from vagan.data.cohort import Cohort
from vagan.data.manifest import Manifest
from vagan.data.schema import ARRAYS, COHORT, MANIFEST, STORE, CohortCase, CohortMetadata
from vagan.files import new_folder
from vagan.progress import track

SHARD_BYTES = 2**24


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
    ``num_images``. ``metadata`` is what is true of all images; the content hash is filled in. ``case_at`` gives the
    arrays of a row. It is called once for each row, from several threads (by default one for each core), in no
    particular order, with one shard of cases per thread in memory. All cases must have the shapes and the fields of
    row 0.
    """
    count = len(manifest) if isinstance(manifest, Manifest) else num_images or 0
    first = case_at(0)
    shard = max(1, SHARD_BYTES // first.image.nbytes)
    blocks = [range(start, min(start + shard, count)) for start in range(0, count, shard)]
    with new_folder(path, COHORT) as folder:
        store = zarr.open_group(folder / STORE, mode="w")
        arrays = {
            name: _create_array(store, name, count, getattr(first, field).shape, shard)
            for name, field in ARRAYS.items()
            if getattr(first, field) is not None
        }

        def write_block(rows: range) -> bytes:
            cases = [case_at(row) if row else first for row in rows]
            digest = hashlib.blake2b()
            for name, array in arrays.items():
                values = np.stack([getattr(case, ARRAYS[name]) for case in cases])
                array[rows.start : rows.stop] = values
                digest.update(values.tobytes())
            return digest.digest()

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
