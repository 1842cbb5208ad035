"""What is known of the subjects of image files: of all the same, as ``age=70,sex=F``, or a row each in a table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vagan.data.covariates import Covariate, covariate_numbers
from vagan.data.image_file import name_of
from vagan.data.manifest import read_table
from vagan.errors import ConfigError


def subjects_of(paths: Sequence[Path], told: str, covariates: Sequence[Covariate]) -> list[pd.DataFrame]:
    """A row for each image file, with a column for each covariate; every image is checked.

    Parameters
    ----------
    paths
        Image files.
    told
        ``age=70,sex=F``, or the path of a CSV table with these columns, such as a manifest. An image's row is found
        by the file's name in the column ``image``, or by the name without suffix in ``id``.
    covariates
        What a model must know; nothing may be told to one that need not know anything.

    Raises
    ------
    ConfigError
        If something is told that is not asked for, or is not told.
    CohortError
        If a value is missing or none that the model can be told.
    """
    names = [covariate.name for covariate in covariates]
    if not covariates:
        if told:
            raise ConfigError(
                "this model was trained without covariates and cannot be told any; leave --covariates out"
            )
        return [pd.DataFrame(index=[0]) for _ in paths]
    if not told:
        example = ",".join(
            f"{one.name}={one.kinds[0] if one.kinds else format(one.mean, '.0f')}" for one in covariates
        )
        raise ConfigError(
            f"the model must know {' and '.join(names)} of each image; say it with --covariates {example}, "
            "or with a table: --covariates table.csv"
        )
    rows = _rows_of_table(paths, Path(told)) if "=" not in told else [_row(told, names)] * len(paths)
    for row in rows:
        covariate_numbers(covariates, row)
    return rows


def _row(told: str, names: Sequence[str]) -> pd.DataFrame:
    pairs = [part.partition("=") for part in told.split(",")]
    row = {name.strip(): value.strip() for name, _, value in pairs}
    if set(row) != set(names):
        raise ConfigError(f"the model must know {' and '.join(names)}, found {told!r}")
    return pd.DataFrame([row])


def _rows_of_table(paths: Sequence[Path], table_path: Path) -> list[pd.DataFrame]:
    table = read_table(table_path)
    known = [name for name in ("image", "id") if name in table]
    if not known:
        raise ConfigError(f"{table_path} must have a column image or id, found {', '.join(map(str, table.columns))}")
    rows = []
    for path in paths:
        here = pd.Series(False, index=table.index)
        for name in known:
            here |= table[name].map(lambda cell: name_of(Path(cell))) == name_of(path)
        if here.sum() != 1:
            raise ConfigError(f"{table_path} must have one row for {path.name}, found {here.sum()}; add it")
        rows.append(table[here].reset_index(drop=True))
    return rows
