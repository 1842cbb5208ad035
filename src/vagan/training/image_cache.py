"""A cohort's images during training: cached where they fit into memory, shuffled, augmented and prefetched."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vagan.axes import concatenate_batches, mirrored
from vagan.data.cohort import Cohort
from vagan.effect import Pose, posed
from vagan.errors import CohortError, ConfigError
from vagan.seeding import numpy_generator
from vagan.training.augmentation import changes_images, random_pose
from vagan.training.config import Config
from vagan.types import Images

Item = TypeVar("Item")

MAX_INTENSITY = 1 + 1e-3


class ImageCache:
    """Images of some rows of a cohort, held in memory if all fit into ``memory_bytes``; otherwise read each time."""

    def __init__(self, cohort: Cohort, rows: NDArray[np.int64], *, memory_bytes: int) -> None:
        self._cohort, self.shape = cohort.in_memory(rows, memory_bytes=memory_bytes), cohort.shape

    def images(self, rows: NDArray[np.int64]) -> Images:
        """Images of these rows, in this order."""
        images = self._cohort.images(rows)
        if images.abs().max() > MAX_INTENSITY:
            row = rows[int(images.abs().flatten(1).amax(dim=1).argmax())]
            raise CohortError(
                f"images must lie in [-1, 1], but {self._cohort.manifest.table['id'][int(row)]} does not; "
                f"`vagan check {self._cohort.path}` names all such images"
            )
        return images


class Drawn(NamedTuple):
    """Images of a stream, their rows in the cohort, which of several streams each is of, and their random poses."""

    images: Images
    rows: NDArray[np.int64]
    streams: NDArray[np.int64]
    pose: Pose | None = None


class ShuffledImages:
    """Endless images of some rows in random order, each round a new one, and each image augmented anew.

    With a mirror axis each image is also drawn mirrored, as if there were twice as many. The seed and ``purpose``
    decide the orders, see `shuffled`, and the augmentation.
    """

    def __init__(self, cache: ImageCache, rows: NDArray[np.int64], config: Config, *, purpose: str) -> None:
        axis, dims = config.augmentation.mirror_axis, len(cache.shape)
        if axis is not None and axis >= dims:
            required = f"must be 0 to {dims - 1} for {dims}-D images, found {axis}; 0 is the first axis"
            raise ConfigError(f"augmentation.mirror_axis {required}")
        self._cache, self._rows, self._augmentation = cache, rows, config.augmentation
        self._seed, self._purpose = config.training.seed, purpose

    def draw(self, start: int, count: int) -> Drawn:
        """Images ``start`` to ``start + count`` of the stream."""
        mirror_axis = self._augmentation.mirror_axis
        versions = 1 if mirror_axis is None else 2
        entries = shuffled(versions * len(self._rows), start, count, seed=self._seed, purpose=self._purpose)
        rows = self._rows[entries % len(self._rows)]
        images = self._cache.images(rows)
        if mirror_axis is not None:
            images = mirrored(images, entries >= len(self._rows), mirror_axis)
        if changes_images(self._augmentation):
            purpose = f"variations of {self._purpose}"
            randoms = (numpy_generator(self._seed, purpose, position) for position in range(start, start + count))
            poses = (random_pose(self._cache.shape, self._augmentation, random) for random in randoms)
            pose = Pose(images, concatenate_batches(*poses))
            return Drawn(posed(pose), rows, np.zeros(count, np.int64), pose)
        return Drawn(images, rows, np.zeros(count, np.int64))


class RoundRobin:
    """Several streams as one: its p-th image is the next of stream ``p mod n``."""

    def __init__(self, streams: Sequence[ShuffledImages]) -> None:
        self._streams = streams

    def draw(self, start: int, count: int) -> Drawn:
        """Images ``start`` to ``start + count``."""
        numbers = np.arange(start, start + count) % len(self._streams)
        parts, places = [], []
        for number, stream in enumerate(self._streams):
            positions = np.flatnonzero(numbers == number)
            if len(positions):
                parts.append(stream.draw((start + int(positions[0])) // len(self._streams), len(positions)))
                places.append(positions)
        order = np.argsort(np.concatenate(places))
        images, poses = concatenate_batches(*(part.images for part in parts)), [part.pose for part in parts]
        pose = Pose(*(concatenate_batches(*part)[order] for part in zip(*poses, strict=True))) if poses[0] else None
        return Drawn(images[order], np.concatenate([part.rows for part in parts])[order], numbers, pose)


def shuffled(entries: int, start: int, count: int, *, seed: int, purpose: str) -> NDArray[np.int64]:
    """Positions ``start`` to ``start + count`` of an endless stream of the numbers below ``entries``.

    Each round is a new random order, decided by seed, purpose and its number, so that a resumed run needs no state.
    """
    rounds = range(start // entries, (start + count - 1) // entries + 1)
    stream = [numpy_generator(seed, purpose, number).permutation(entries) for number in rounds]
    offset = start - rounds.start * entries
    return np.concatenate(stream)[offset : offset + count]


def prefetch(load: Callable[[int], Item], steps: Iterable[int], *, threads: int = 1) -> Iterator[Item]:
    """Yield ``load(step)`` for each step, in order, some of them computed ahead by background threads.

    An exception in ``load`` is raised where its result would have come. Several threads use a core each. Threads, not
    the worker processes of a ``DataLoader``: in the same order, those took 3.7 times as long for small images (every
    batch is sent between processes), and each would hold the cache again.
    """
    steps = iter(steps)
    one_core: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)} if threads > 1 else {}
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch", **one_core) as thread:
        ahead = deque(thread.submit(load, step) for step in islice(steps, threads + 2))
        try:
            while ahead:
                item = ahead.popleft().result()
                ahead.extend(thread.submit(load, step) for step in islice(steps, 1))
                yield item
        finally:
            for item_ahead in ahead:
                item_ahead.cancel()
