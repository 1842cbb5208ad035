"""What is known of an image besides its class, such as the subject's age or sex, as numbers for networks."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vagan.errors import CohortError, ConfigError, nearest

MISSING = ("", "nan", "n/a", "na", "none")
MOST_KINDS = 20
KIND_APART = 10.0
"""Distance of two kinds, in standard deviations of numbers, where images are matched: kinds come first."""
BLUR = 1e-3

Numbers = Float[np.ndarray, "image number"]


class Covariate(BaseModel):
    """A column of a manifest, and how it is told: a number in standard deviations, or one of several kinds, one-hot.

    What numbers and kinds there are is measured on training images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: float = 0.0
    """Of a number."""
    spread: Annotated[float, Field(gt=0)] = 1.0
    """Of a number: its standard deviation."""
    seen: tuple[float, float] = (0.0, 0.0)
    """Of a number: the least and the largest among baseline images. A map of an image beyond is an extrapolation."""
    kinds: tuple[str, ...] = ()
    """None of a number."""

    @property
    def width(self) -> int:
        """How many numbers are told."""
        return len(self.kinds) or 1

    def numbers(self, table: pd.DataFrame) -> Numbers:
        """What is told of each row.

        Raises
        ------
        CohortError
            If the table has no such column, a cell is empty, no number, or of a kind that is not known.
        """
        values = _column(table, self.name)
        if self.kinds:
            unknown = next((value for value in values if value not in self.kinds), None)
            if unknown is not None:
                raise CohortError(f"{self.name} must be a kind that training images had: found {unknown!r}; "
                                  f"{nearest(unknown, self.kinds)}")  # fmt: skip
            return (values.to_numpy()[:, None] == np.array(self.kinds, dtype=object)).astype(np.float32)
        found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(found).all():
            value = values.iloc[int(np.argmin(np.isfinite(found)))]
            raise CohortError(f"{self.name} must be a number, as in training: found {value!r}")
        return ((found - self.mean) / self.spread).astype(np.float32)[:, None]

    def extrapolates(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Whether a row's number is beyond those of the baseline images of the training."""
        if self.kinds:
            return np.zeros(len(table), dtype=bool)
        found = pd.to_numeric(_column(table, self.name)).to_numpy(dtype=np.float64)
        return (found < self.seen[0]) | (found > self.seen[1])


def measure_covariates(names: Sequence[str], table: pd.DataFrame) -> tuple[Covariate, ...]:
    """Describe columns of the training images' rows: a number if every cell is one, else a kind.

    Raises
    ------
    ConfigError
        If there is no such column, it is the same for all images, or it has too many kinds.
    CohortError
        If a cell is empty, or a kind occurs in no image of the baseline class.
    """
    return tuple(_measure(name, table) for name in names)


def covariate_numbers(
    covariates: Sequence[Covariate], table: pd.DataFrame, *, kind_apart: float | None = None
) -> Numbers:
    """What is told of each row, all covariates side by side.

    Parameters
    ----------
    covariates, table
        See `Covariate.numbers`.
    kind_apart
        Distance of two kinds, where distances are to be measured.
    """
    scale = 1.0 if kind_apart is None else kind_apart / 2**0.5
    parts = [one.numbers(table) * np.float32(scale if one.kinds else 1) for one in covariates]
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(table), 0), np.float32)


def matched(
    wanted: Numbers, offered: Float[np.ndarray, "offered number"], rng: np.random.Generator, *, neighbours: int
) -> NDArray[np.int64]:
    """Places of those offered that are nearest to each one wanted, of equally near ones random ones.

    Together they are distributed as those wanted, as far as there are such (Stuart, Statistical Science 25, 2010).

    Returns
    -------
    NDArray
        ``neighbours`` for each one wanted, or as many as are offered; places occur as often as they are near.
    """
    from scipy.spatial import cKDTree

    # a little noise on both sides: of many that are equal, such as all women, all get their turn
    blurred, asked = (numbers + BLUR * rng.standard_normal(numbers.shape) for numbers in (offered, wanted))
    _, places = cKDTree(blurred).query(asked, k=range(1, 1 + min(neighbours, len(offered))))
    return np.asarray(places, dtype=np.int64).ravel()


def _measure(name: str, table: pd.DataFrame) -> Covariate:
    if name not in table:
        hint = nearest(name, map(str, table.columns))
        raise ConfigError(f"training.covariates: {name!r} must be a column of the manifest; {hint}")
    values, baseline = _column(table, name), table["label"].to_numpy() == 0
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    if values.nunique() < 2:
        raise ConfigError(f"training.covariates: {name} is {values.iloc[0]!r} of all training images; leave it out")
    if np.isfinite(numbers).all():
        seen = (float(numbers[baseline].min()), float(numbers[baseline].max()))
        return Covariate(name=name, mean=float(numbers.mean()), spread=float(numbers.std()), seen=seen)
    kinds = tuple(sorted(set(values)))
    if len(kinds) > MOST_KINDS:
        raise ConfigError(
            f"training.covariates: {name} must be numbers or at most {MOST_KINDS} kinds, found {len(kinds)}, "
            f"{kinds[0]!r} for one; leave it out or join kinds"
        )
    foreign = sorted(set(values[~baseline]) - set(values[baseline]))
    if foreign:
        raise CohortError(
            f"what baseline images look like must be seen for each kind: no training image of the baseline class has "
            f"{name} {foreign[0]!r}; leave those images out, or the covariate"
        )
    return Covariate(name=name, kinds=kinds)


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    """A column as text, with something in every cell."""
    if name not in table:
        raise CohortError(
            f"{name} must be known of each image, as it was in training; there are the columns "
            f"{', '.join(map(str, table.columns)) or 'none'}"
        )
    values = table[name].astype(str).str.strip()
    missing = values.str.lower().isin(MISSING).to_numpy()
    if missing.any():
        first = table["id"].iloc[int(missing.argmax())] if "id" in table else "the image"
        raise CohortError(
            f"{name} must be known of every image: {missing.sum()} of {len(table)} have none, {first!r} for one; "
            "fill it in, leave those images out, or train without this covariate"
        )
    return values
