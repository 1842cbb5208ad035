"""Fast access to a cohort's images during training: kept in memory where they fit, read ahead where not."""

from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vagan.axes import concatenate_batches, mirrored
from vagan.data.cohort import Cohort
from vagan.errors import CohortError
from vagan.seeding import numpy_generator
from vagan.training.augmentation import UNVARIED, RandomAffineElastic
from vagan.training.sampling import ShuffledStream
from vagan.types import Images

Batch = TypeVar("Batch")

LARGEST_INTENSITY = 1 + 1e-3


class ImageBank:
    """Images of some rows of a cohort, by row number.

    Parameters
    ----------
    cohort
        Where they come from.
    rows
        The rows that will be asked for.
    memory_bytes
        Images are held in memory if all of them fit in this; otherwise each request reads the store.
    """

    def __init__(self, cohort: Cohort, rows: NDArray[np.int64], *, memory_bytes: int) -> None:
        self._cohort = cohort
        image_bytes = 4 * cohort.channels * int(np.prod(cohort.shape))
        self._place = np.full(len(cohort.manifest), -1)
        self._place[rows] = np.arange(len(rows))
        self._held = cohort.images(rows) if image_bytes * len(rows) <= memory_bytes else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the images."""
        return self._cohort.shape

    def images(self, rows: NDArray[np.int64]) -> Images:
        """Images of these rows, in this order."""
        images = self._cohort.images(rows) if self._held is None else self._held[self._place[rows]]
        if images.abs().max() > LARGEST_INTENSITY:
            row = rows[[bool(image.abs().max() > LARGEST_INTENSITY) for image in images].index(True)]
            raise CohortError(
                f"images must lie in [-1, 1], but {self._cohort.manifest.table['id'][int(row)]} leaves it: one such "
                f"image spoils a training; `vagan check {self._cohort.path}` names all of them"
            )
        return images


class ShuffledImages:
    """Endless images of some rows in random order, each round a new one.

    Parameters
    ----------
    bank
        Where they come from.
    rows
        What to draw from.
    mirror_axis
        Draw each image also mirrored along this spatial axis, as if there were twice as many.
    variation
        Draw each image in another pose and shape every time.
    seed, purpose
        Decide the orders, see `ShuffledStream`, and the variations.
    """

    def __init__(
        self,
        bank: ImageBank,
        rows: NDArray[np.int64],
        *,
        mirror_axis: int | None = None,
        variation: RandomAffineElastic = UNVARIED,
        seed: int,
        purpose: str,
    ) -> None:
        self._bank, self._rows, self._mirror_axis = bank, rows, mirror_axis
        self._variation, self._seed, self._purpose = variation, seed, f"variations of {purpose}"
        entries = len(rows) * (1 if mirror_axis is None else 2)
        self._stream = ShuffledStream(np.arange(entries), seed=seed, purpose=purpose)

    def rows(self, start: int, count: int) -> NDArray[np.int64]:
        """Rows of the images ``start`` to ``start + count`` of the stream."""
        return self._rows[self._stream.draw(start, count) % len(self._rows)]

    def draw(self, start: int, count: int) -> Images:
        """Images ``start`` to ``start + count`` of the stream."""
        entries = self._stream.draw(start, count)
        images = self._bank.images(self._rows[entries % len(self._rows)])
        if self._mirror_axis is not None:
            images = mirrored(images, entries >= len(self._rows), self._mirror_axis)
        if self._variation:
            positions = range(start, start + count)
            draws = zip(images.split(1), positions, strict=True)
            images = concatenate_batches(
                *(
                    self._variation.draw(image, numpy_generator(self._seed, self._purpose, position))
                    for image, position in draws
                )
            )
        return images


class ImagesInTurn:
    """Several streams as one, which goes round them: its p-th image is the next of stream ``p mod n``."""

    def __init__(self, streams: Sequence[ShuffledImages]) -> None:
        self._streams = streams

    def rows(self, start: int, count: int) -> NDArray[np.int64]:
        """Rows of the images ``start`` to ``start + count``."""
        turns = np.arange(start, start + count) % len(self._streams)
        rows = np.empty(count, np.int64)
        for number, stream in enumerate(self._streams):
            places = np.flatnonzero(turns == number)
            if len(places):
                rows[places] = stream.rows((start + int(places[0])) // len(self._streams), len(places))
        return rows

    def draw(self, start: int, count: int) -> tuple[Images, NDArray[np.int64]]:
        """Images ``start`` to ``start + count``, and the number of the stream that each is of."""
        turns = np.arange(start, start + count) % len(self._streams)
        images: list[Images] = [torch.empty(0)] * count
        for number, stream in enumerate(self._streams):
            places = np.flatnonzero(turns == number)
            if len(places):
                found = stream.draw((start + int(places[0])) // len(self._streams), len(places))
                for place, image in zip(places, found.split(1), strict=True):
                    images[place] = image
        return concatenate_batches(*images), turns


def read_ahead(load: Callable[[int], Batch], start: int, stop: int, *, depth: int = 2) -> Iterator[Batch]:
    """Yield ``load(start)`` to ``load(stop - 1)``, computed by a background thread before they are needed.

    An exception in ``load`` is raised where its result would have come.
    """
    ready: Queue[Batch | BaseException] = Queue(maxsize=depth)
    stopped = Event()

    def work() -> None:
        for step in range(start, stop):
            if stopped.is_set():
                return
            try:
                ready.put(load(step))
            except BaseException as error:
                ready.put(error)
                return

    worker = Thread(target=work, daemon=True, name="read-ahead")
    worker.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while not ready.empty():  # a worker waiting for room must see that it is to stop
            ready.get_nowait()
        worker.join()
