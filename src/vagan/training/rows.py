"""Which images of a cohort a training may see, checked before anything starts."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.covariates import KIND_APART, Covariate, covariate_numbers, matched
from vagan.errors import CohortError, ConfigError, nearest
from vagan.seeding import numpy_generator
from vagan.training.augmentation import RandomAffineElastic
from vagan.training.config import Config, Training
from vagan.training.image_cache import ImageBank, ShuffledImages

SMALLEST_EXTENT = 16
"""Four poolings reduce fewer pixels to nothing."""


def interest_labels(cohort: Cohort, settings: Training) -> tuple[int, ...]:
    """Labels of the classes of interest: the one that the settings name, or all."""
    _, *others = cohort.manifest.classes
    if not settings.class_of_interest:
        return tuple(range(1, 1 + len(others)))
    if settings.class_of_interest not in others:
        hint = nearest(settings.class_of_interest, others)
        raise CohortError(
            f"training.class_of_interest {settings.class_of_interest!r} is no class of interest; {hint}"
        )
    return (1 + others.index(settings.class_of_interest),)


def only_interest_label(cohort: Cohort, settings: Training) -> int:
    """Label of the class of interest, of which there may be one alone."""
    baseline, *others = cohort.manifest.classes
    label, *more = interest_labels(cohort, settings)
    if more:
        raise CohortError(
            f"one class of interest is needed beside {baseline}, found {', '.join(others)}; "
            "name one with training.class_of_interest"
        )
    return label


def augmented(bank: ImageBank, rows: NDArray[np.int64], config: Config, *, purpose: str) -> ShuffledImages:
    """Endless stream of the images of these rows, in the versions that the configuration asks for."""
    settings = config.augmentation
    axis, dims = settings.mirror_axis, len(bank.shape)
    if axis is not None and axis >= dims:
        raise ConfigError(
            f"augmentation.mirror_axis must be 0 to {dims - 1} for {dims}-D images, found {axis}; 0 is the first axis"
        )
    variation = RandomAffineElastic(**settings.model_dump(exclude={"mirror_axis"}))
    seed = config.training.seed
    return ShuffledImages(bank, rows, mirror_axis=axis, variation=variation, seed=seed, purpose=purpose)


def training_rows(cohort: Cohort, interests: tuple[int, ...], settings: Training) -> dict[int, NDArray[np.int64]]:
    """Training images of the baseline class and each class of interest, enough for a batch."""
    if min(cohort.shape) < SMALLEST_EXTENT:
        raise CohortError(
            f"images must have at least {SMALLEST_EXTENT} pixels along each axis, found {cohort.shape}; "
            "import them again with a larger --size"
        )
    rows = {label: cohort.manifest.indices("train", label) for label in (0, *interests)}
    for label, found in rows.items():
        if len(found) < settings.batch_size:
            raise CohortError(
                f"a batch needs {settings.batch_size} training images of class "
                f"{cohort.manifest.classes[label]!r}, found {len(found)}; lower training.batch_size"
            )
    return _permuted(rows, settings) if settings.permute_labels else rows


def validation_rows(cohort: Cohort, interests: tuple[int, ...], settings: Training) -> dict[int, NDArray[np.int64]]:
    """A random subset of the validation images of each class, the same throughout a run."""
    chosen = {}
    for label in (0, *interests):
        found = cohort.manifest.indices("validation", label)
        if not len(found):
            raise CohortError(f"no validation images of class {cohort.manifest.classes[label]!r}; split again")
        shuffled = numpy_generator(settings.seed, "validation", label).permutation(found)
        chosen[label] = np.sort(shuffled[: settings.validation_images])
    return chosen


def matched_rows(
    cohort: Cohort,
    rows: Mapping[int, NDArray[np.int64]],
    label: int,
    covariates: Sequence[Covariate],
    *,
    neighbours: int,
    seed: int,
) -> NDArray[np.int64]:
    """Baseline images whose covariates are distributed as those of a class of interest.

    A baseline image occurs as often as it is one of the ``neighbours`` nearest to an image of that class.
    """
    offered, wanted = (
        covariate_numbers(covariates, cohort.manifest.table.iloc[rows[one]], kind_apart=KIND_APART)
        for one in (0, label)
    )
    rng = numpy_generator(seed, "baseline images matched", label)
    return rows[0][matched(wanted, offered, rng, neighbours=neighbours)]


def _permuted(rows: dict[int, NDArray[np.int64]], settings: Training) -> dict[int, NDArray[np.int64]]:
    """The same images and class sizes, with labels that mean nothing."""
    mixed = numpy_generator(settings.seed, "permuted labels").permutation(np.concatenate(list(rows.values())))
    parts = np.split(mixed, np.cumsum([len(found) for found in rows.values()])[:-1])
    return dict(zip(rows, parts, strict=True))
