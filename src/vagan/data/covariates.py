"""Covariates of images, such as the subject's age or sex, encoded as numbers for networks."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vagan.data.table import is_missing
from vagan.errors import CohortError, ConfigError, nearest

MAX_CATEGORIES = 20
DISTINCT = 0.9  #: Categories per image from which on a text is that of single images.
CATEGORY_DISTANCE = 10.0
"""Distance of two categories, in standard deviations of numbers, where images are matched: categories weigh most."""
BLUR = 1e-3
FARTHEST = 10.0  #: Standard deviations from the training mean beyond which a number is an error.

Finite = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Float[np.ndarray, "image number"]


class Covariate(BaseModel):
    """A column of a manifest and its encoding: a number in standard deviations, or a category, one-hot.

    Mean, standard deviation and categories are those of the training images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    mean: Finite = 0.0
    std: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    baseline_range: tuple[Finite, Finite] = (0.0, 0.0)
    """Of a number: least and largest value among baseline images. Maps of images beyond are extrapolations."""
    categories: Annotated[tuple[str, ...], Field(max_length=MAX_CATEGORIES)] = ()  #: Empty for a number.

    @property
    def width(self) -> int:
        """How many numbers encode it."""
        return len(self.categories) or 1

    def encode(self, table: pd.DataFrame) -> Numbers:
        """Numbers for each row.

        Raises `CohortError` if there is no such column, or a cell is empty, no number, or of an unknown category.
        """
        values = _column(table, self.name)
        if self.categories:
            if odd := [value for value in values if value not in self.categories]:
                hint = nearest(odd[0], self.categories)
                raise CohortError(f"{self.name} must be a category of the training images: found {odd[0]!r}; {hint}")
            return (values.to_numpy()[:, None] == np.array(self.categories, dtype=object)).astype(np.float32)
        found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(found).all():
            value = values.iloc[int(np.argmin(np.isfinite(found)))]
            raise CohortError(f"{self.name} must be a number, as in training: found {value!r}")
        with np.errstate(over="ignore"):
            return ((found - self.mean) / self.std).astype(np.float32)[:, None]

    def require_near(self, table: pd.DataFrame) -> None:
        """As `encode`, and raise `CohortError` if a number is farther than `FARTHEST` from the training mean."""
        far = np.flatnonzero(~(np.abs(self.encode(table)) <= FARTHEST).all(axis=1))
        if len(far):
            raise CohortError(
                f"{self.name} must be within {FARTHEST:g} standard deviations of the training images' mean "
                f"{self.mean:g} (one is {self.std:g}): found {_column(table, self.name).iloc[far[0]]}; check its unit"
            )

    def is_extrapolated(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether a row's number is outside the range of the baseline images of the training."""
        if self.categories:
            return np.zeros(len(table), dtype=bool)
        found = pd.to_numeric(_column(table, self.name)).to_numpy(dtype=np.float64)
        return (found < self.baseline_range[0]) | (found > self.baseline_range[1])


def fit_covariates(names: Sequence[str], table: pd.DataFrame) -> tuple[Covariate, ...]:
    """Describe columns of the training images' rows: numbers if every cell is one, else categories.

    Raises `ConfigError` if there is no such column, it is the same for all images, or it has too many categories;
    `CohortError` if a cell is empty, or a category occurs in no image of the baseline class.
    """
    return tuple(_fit(name, table) for name in names)


def encode_covariates(
    covariates: Sequence[Covariate], table: pd.DataFrame, *, category_distance: float | None = None
) -> Numbers:
    """Numbers for each row, all covariates side by side.

    ``category_distance`` is the distance of two categories, where distances are to be measured.
    """
    scale = 1.0 if category_distance is None else category_distance / 2**0.5
    parts = [one.encode(table) * np.float32(scale if one.categories else 1) for one in covariates]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0), np.float32)


def match_covariates(
    wanted: Numbers, offered: Float[np.ndarray, "offered number"], rng: np.random.Generator, *, neighbours: int
) -> NDArray[np.int64]:
    """Nearest-neighbour matching: rows of ``offered`` that are nearest to each row wanted; ties are broken at random.

    Returns ``neighbours`` rows for each one wanted, or as many as are offered; with repetitions. Together they are
    distributed as the rows wanted, as far as there are such (Stuart, Statistical Science 25, 2010).
    """
    from scipy.spatial import cKDTree

    # a little noise on both sides breaks ties: of many equal rows, such as all women, all are taken in turn
    blurred, asked = (numbers + BLUR * rng.standard_normal(numbers.shape) for numbers in (offered, wanted))
    _, rows = cKDTree(blurred).query(asked, k=range(1, 1 + min(neighbours, len(offered))))
    return np.asarray(rows, dtype=np.int64).ravel()


def _fit(name: str, table: pd.DataFrame) -> Covariate:
    if name not in table:
        hint = nearest(name, map(str, table.columns))
        raise ConfigError(f"training.covariates: {name!r} must be a column of the manifest; {hint}")
    values, baseline = _column(table, name), table["label"].to_numpy() == 0
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    if values.nunique() < 2:
        raise ConfigError(f"training.covariates: {name} is {values.iloc[0]!r} for all training images; leave it out")
    if np.isfinite(numbers).all():
        extremes = (float(numbers[baseline].min()), float(numbers[baseline].max()))
        return Covariate(name=name, mean=float(numbers.mean()), std=float(numbers.std()), baseline_range=extremes)
    categories = tuple(sorted(set(values)))
    odd, count = values[~np.isfinite(numbers)].iloc[0], int(np.isfinite(numbers).sum())
    if len(categories) > MAX_CATEGORIES or len(categories) > max(2, DISTINCT * len(values)):
        cause = "is it an identifier or a date?"
        if count:
            cause = f"{odd!r} is no number, while {count} of {len(values)} values are; a unit or a comma in the cell?"
        raise ConfigError(
            f"training.covariates: {name} must be numbers or at most {MAX_CATEGORIES} categories that images share, "
            f"found {len(categories)} different texts in {len(values)} training images, e.g. {odd!r}: {cause} "
            "correct it, join categories, or leave it out"
        )
    if foreign := sorted(set(values[~baseline]) - set(values[baseline])):
        raise CohortError(
            f"each category of {name} must occur in training images of the baseline class: {foreign[0]!r} does not; "
            "leave out those images or the covariate"
        )
    return Covariate(name=name, categories=categories)


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    """A column as text, with something in every cell."""
    if name not in table:
        raise CohortError(
            f"covariates: {name} is required for each image, as in training; found the columns "
            f"{', '.join(map(str, table.columns)) or 'none'}"
        )
    values = table[name].astype(str).str.strip()
    missing = values.map(lambda cell: is_missing(cell) or cell.lower() == "none").to_numpy()
    if missing.any():
        first = table["id"].iloc[int(missing.argmax())] if "id" in table else "the image"
        raise CohortError(
            f"covariates: {name} is required for every image, and {missing.sum()} of {len(table)} have none, e.g. "
            f"{first!r}; fill it in, leave those images out, or train without this covariate"
        )
    return values
