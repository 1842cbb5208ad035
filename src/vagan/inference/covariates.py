"""Covariates of new images: one row per image, checked against those that a model is conditioned on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vagan.data.covariates import Covariate
from vagan.data.image_file import name_of
from vagan.errors import ConfigError

GivenCovariates = pd.DataFrame | Mapping[str, Any] | None
"""A row per image, the same values for all images, or nothing."""


def covariate_table(given: GivenCovariates, covariates: Sequence[Covariate], count: int) -> pd.DataFrame | None:
    """One row per image of the covariates that a model is conditioned on; None if there are none.

    Covariates that are missing, unknown, of another number of images or of invalid values are errors.
    """
    names = [covariate.name for covariate in covariates]
    if isinstance(given, Mapping):
        if given and not names:
            raise ConfigError("covariates were given, but the model was trained without any; leave them out")
        if set(given) != set(names):
            raise ConfigError(f"covariates must be {', '.join(names)}: found {', '.join(given) or 'none'}")
        given = pd.DataFrame([dict(given)])
    if not names:
        return None
    if given is None:
        values = [one.categories[0] if one.categories else format(one.mean, ".0f") for one in covariates]
        example = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        raise ConfigError(f"missing covariates: the model is conditioned on {', '.join(names)}; give {example}")
    if len(given) not in (1, count):
        raise ConfigError(f"covariates need one row per image, or one for all: {len(given)} rows for {count} images")
    for covariate in covariates:
        covariate.encode(given)
        covariate.require_near(given)
    rows = given[names].reset_index(drop=True)
    return rows if len(rows) == count else rows.loc[[0] * count].reset_index(drop=True)


def parse_covariates(text: str) -> dict[str, str]:
    """``age=70,sex=F`` -> {"age": "70", "sex": "F"}; empty for an empty text. No text names a file here."""
    values = {}
    for part in text.split(",") if text.strip() else []:
        name, separator, value = part.partition("=")
        if not (separator and name.strip()):
            raise ConfigError(f"covariates must read like age=70,sex=F, found {text!r}")
        values[name.strip()] = value.strip()
    return values


def rows_of(paths: Sequence[Path], table: pd.DataFrame) -> pd.DataFrame:
    """The row of each image file in a table, found by the file's name in ``image``, or without suffix in ``id``."""
    known = [name for name in ("image", "id") if name in table]
    if not known:
        raise ConfigError(f"covariates: a table needs a column image or id, found {', '.join(map(str, table))}")
    rows, names = [], table[known].map(lambda cell: name_of(Path(str(cell))))
    for path in paths:
        here = (names == name_of(path)).any(axis=1)
        if here.sum() > 1 and "image" in table:  # the folders of the cells tell them apart
            cells = table["image"].map(lambda cell: Path(str(cell)).parts)
            here &= pd.Series([path.absolute().parts[-len(parts) :] == parts for parts in cells], index=table.index)
        if here.sum() != 1:
            raise ConfigError(f"covariates: the table needs one row for {path.name}, found {here.sum()}")
        rows.append(table[here])
    return pd.concat(rows, ignore_index=True)
