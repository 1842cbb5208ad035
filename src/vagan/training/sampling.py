"""Batches: which images they contain, in which order, with which conditions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.covariates import CATEGORY_DISTANCE, encode_covariates, fit_covariates, match_covariates
from vagan.effect import Pose, deforms
from vagan.errors import CohortError, nearest
from vagan.nn.conditioning import Condition, concat_conditions
from vagan.seeding import numpy_generator
from vagan.training.config import Config, Training
from vagan.training.image_cache import ImageCache, RoundRobin, ShuffledImages
from vagan.types import Images, Scores

Rows = NDArray[np.int64]
"""Positions in a cohort."""

MIN_EXTENT = 16
"""Four poolings reduce fewer pixels to nothing."""
VALIDATION_BATCH = 50
NEIGHBOURS = 5
"""Baseline images for each image of a class of interest that may be its target."""


class Batch(NamedTuple):
    """Unpaired images: what is to be changed, and what it shall look like. Means the same in every mode of training.

    Usually the source shows a class of interest and the target the baseline class. In bidirectional training every
    other class of interest is inserted instead, and the two change places.
    """

    source: Images
    """Images that the map generator changes."""
    target: Images
    """Images of the kind that they shall become, of other subjects."""
    fractions: Scores
    """Where between a target (1) and a changed source (0) the critic's gradient norm is measured."""
    condition: Condition | None = None
    """What the networks are conditioned on for each source, and for what the generator makes of it."""
    target_condition: Condition | None = None
    """The same for each target: the task of the source beside it, and its own covariates."""
    reverse_condition: Condition | None = None
    """What the generator is conditioned on to undo its change of each source."""
    weight: Scores | None = None
    """Of each pair in the terms on maps; 1 if None."""
    pose: Pose | None = None
    """Of each source that a generator deforms, where images are augmented."""


class TrainingImages:
    """Batches of a training of VA-GAN, and its validation images.

    ``interests`` are labels of the classes of interest. ``critic_conditions`` is the width of the critic's condition,
    the first numbers of the generator's: the task, one-hot, where there are several (each class of interest to remove
    and, in bidirectional training, to insert); and the ``covariates``. ``validation`` holds the validation rows of
    each label, ``recalibration`` training rows for batch norm's statistics.
    """

    def __init__(self, config: Config, cohort: Cohort) -> None:
        settings, self._deforms = config.training, deforms(config.generator.output)
        self._cohort, self._settings, self._insertion_weight = cohort, settings, config.loss.insertion_weight_scale
        self.interests = interest_labels(cohort, settings)
        rows = training_rows(cohort, self.interests, settings)
        self.validation = validation_rows(cohort, self.interests, settings)
        table = cohort.manifest.table
        self.covariates = fit_covariates(settings.covariates, table.iloc[np.concatenate(list(rows.values()))])
        self._tasks = len(self.interests) * (1 + settings.bidirectional)
        self.critic_conditions = (self._tasks if self._tasks > 1 else 0) + sum(one.width for one in self.covariates)
        self.cache = ImageCache(cohort, np.concatenate(list(rows.values())), memory_bytes=settings.memory_mb * 2**20)
        shown = dict(rows)
        if self.covariates:
            alike = [self._like(self.validation, label, neighbours=1) for label in self.interests]
            self.validation[0] = interleaved(alike)
            shown[0] = np.concatenate([self._like(rows, label) for label in self.interests])
        self.recalibration = recalibration_rows(shown, config.generator.bn_recalibration_images, seed=settings.seed)
        self._sources, self._targets = (
            RoundRobin([ShuffledImages(self.cache, found, config, purpose=name) for name, found in streams.items()])
            for streams in self._streams(rows)
        )

    def _streams(self, rows: Mapping[int, Rows]) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """Rows of sources and of targets by the name of their stream, which decides the order; one pair per task."""
        sources = {f"images of class {label}": rows[label] for label in self.interests}
        if not (self.covariates or self._settings.bidirectional):
            return sources, {"images of class 0": rows[0]}
        like = {label: self._like(rows, label) for label in self.interests}
        targets = {f"images of class 0 for {label}": found for label, found in like.items()}
        if self._settings.bidirectional:
            sources |= {f"images of class 0 to become {label}": found for label, found in like.items()}
            targets |= {f"images of class {label} to become": rows[label] for label in self.interests}
        return sources, targets

    def batches(self, update: int, parts: Sequence[int]) -> list[Batch]:
        """These of the batches that an update accumulates; depends on nothing but their numbers."""
        count, accumulated = self._settings.batch_size, self._settings.accumulate_grad_batches
        rng = numpy_generator(self._settings.seed, "fractions", update)
        fractions = torch.from_numpy(rng.random((accumulated, count), dtype=np.float32))
        return [self._batch((update * accumulated + part) * count, fractions[part]) for part in parts]

    def _batch(self, start: int, fractions: Scores) -> Batch:
        count = self._settings.batch_size
        source, target = self._sources.draw(start, count), self._targets.draw(start, count)
        tasks = source.streams
        reverse = (tasks + len(self.interests)) % self._tasks
        weight = np.where(tasks < len(self.interests), 1, self._insertion_weight).astype(np.float32)
        return Batch(
            source.images,
            target.images,
            fractions,
            self._condition(tasks, source.rows),
            self._condition(tasks, target.rows),
            self._condition(reverse, source.rows) if self._settings.bidirectional else None,
            None if self._insertion_weight == 1 else torch.from_numpy(weight),
            source.pose if self._deforms else None,
        )

    def validation_images(self, label: int, rows: Rows) -> Iterator[tuple[Images, Condition | None]]:
        """Images of a class, with their condition, a few at a time."""
        condition = self._examples(np.full(len(rows), label), rows)
        for start in range(0, len(rows), VALIDATION_BATCH):
            part = slice(start, start + VALIDATION_BATCH)
            yield self._cohort.images(rows[part]), None if condition is None else condition[part]

    def recalibration_condition(self) -> Condition | None:
        """What the generator is conditioned on for the images of `recalibration`: all tasks in turn."""
        labels = self._cohort.manifest.table["label"].to_numpy()[self.recalibration]
        return self._examples(labels, self.recalibration, both_ways=True)

    def _like(self, rows: Mapping[int, Rows], label: int, *, neighbours: int = NEIGHBOURS) -> Rows:
        """Baseline images whose covariates are distributed as those of a class of interest; without covariates all.

        Each occurs as often as it is one of the ``neighbours`` nearest to an image of that class.
        """
        if not self.covariates:
            return rows[0]
        offered, wanted = (self._numbers(rows[one], category_distance=CATEGORY_DISTANCE) for one in (0, label))
        rng = numpy_generator(self._settings.seed, "baseline images matched", label)
        return rows[0][match_covariates(wanted, offered, rng, neighbours=neighbours)]

    def _examples(self, labels: Rows, rows: Rows, *, both_ways: bool = False) -> Condition | None:
        """Conditions for trying the generator on images: of baseline images, the tasks of each class in turn.

        With ``both_ways``, in bidirectional training, half of the images get a class inserted.
        """
        classes, positions = len(self.interests), np.arange(len(labels))
        tasks = np.where(labels == 0, positions % classes, np.searchsorted(self.interests, labels))
        if both_ways and self._settings.bidirectional:
            # rows come in rounds of one of each class; all of a round go one way, for as many as there are classes
            tasks = tasks + classes * (positions // (1 + classes) // classes % 2)
        return self._condition(tasks, rows)

    def _condition(self, tasks: Rows, rows: Rows) -> Condition | None:
        """Condition for images of these rows: the task of each, and its covariates."""
        task = torch.eye(self._tasks)[torch.from_numpy(tasks)] if self._tasks > 1 else None
        return concat_conditions(task, torch.from_numpy(self._numbers(rows)) if self.covariates else None)

    def _numbers(self, rows: Rows, *, category_distance: float | None = None) -> NDArray[np.float32]:
        table = self._cohort.manifest.table.iloc[rows]
        return encode_covariates(self.covariates, table, category_distance=category_distance)


def interest_labels(cohort: Cohort, settings: Training) -> tuple[int, ...]:
    """Labels of the classes of interest: the one that the settings name, or all."""
    _, *others = cohort.manifest.classes
    if not settings.class_of_interest:
        return tuple(range(1, 1 + len(others)))
    if settings.class_of_interest not in others:
        named, hint = settings.class_of_interest, nearest(settings.class_of_interest, others)
        raise CohortError(f"training.class_of_interest {named!r} is not a class of interest; {hint}")
    return (1 + others.index(settings.class_of_interest),)


def training_rows(cohort: Cohort, interests: tuple[int, ...], settings: Training) -> dict[int, Rows]:
    """Training images of the baseline class and each class of interest, enough for a batch."""
    if min(cohort.shape) < MIN_EXTENT:
        required, remedy = f"images must have at least {MIN_EXTENT} pixels along each axis", "at a larger size"
        if settings.downsampling > 1:
            required, remedy = f"{required} after downsampling", f"{remedy}, or set training.downsampling=1"
        raise CohortError(f"{required}, found {cohort.shape}; import them again {remedy}")
    rows = {label: cohort.manifest.indices("train", label) for label in (0, *interests)}
    for label, found in rows.items():
        if len(found) < settings.batch_size:
            raise CohortError(
                f"a batch needs {settings.batch_size} training images of class "
                f"{cohort.manifest.classes[label]!r}, found {len(found)}; lower training.batch_size"
            )
    if not settings.permute_labels:
        return rows
    everything = numpy_generator(settings.seed, "permuted labels").permutation(np.concatenate(list(rows.values())))
    ends = np.cumsum([len(found) for found in rows.values()])[:-1]
    return dict(zip(rows, np.split(everything, ends), strict=True))


def validation_rows(cohort: Cohort, interests: tuple[int, ...], settings: Training) -> dict[int, Rows]:
    """A random subset of the validation images of each class, the same throughout a run."""
    chosen = {}
    for label in (0, *interests):
        found = cohort.manifest.indices("validation", label)
        if not len(found):
            raise CohortError(f"no validation images of class {cohort.manifest.classes[label]!r}; split again")
        shuffled = numpy_generator(settings.seed, "validation", label).permutation(found)
        chosen[label] = np.sort(shuffled[: settings.validation_images])
    return chosen


def recalibration_rows(rows: Mapping[int, Rows], count: int, *, seed: int) -> Rows:
    """Random training images, ``count`` of each class, interleaved: each batch of them holds all classes."""
    count = min(count, *map(len, rows.values()))
    chosen = [numpy_generator(seed, "calibration", label).permutation(found)[:count] for label, found in rows.items()]
    return interleaved(chosen)


def interleaved(parts: Sequence[Rows]) -> Rows:
    """One entry of each part after the other, as long as all have some."""
    shortest = min(map(len, parts))
    return np.stack([part[:shortest] for part in parts], axis=-1).ravel()
