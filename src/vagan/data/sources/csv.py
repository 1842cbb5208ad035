"""Cohorts from a table with one row per image file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.sources.files import ImportOptions, import_files
from vagan.data.table import read_table, with_class_column, with_known_columns, without_missing
from vagan.errors import ManifestError, nearest

COLUMNS = ("image", "class", "id", "subject", "session", "split", "effect")
"""Columns with a meaning of their own, in any case of letters; all others are covariates."""


def read_image_table(path: Path, class_column: str, required: Sequence[str], paths: Sequence[str]) -> pd.DataFrame:
    """A table of images: ``paths`` are columns with paths relative to it, and the classes become ``class``."""
    table = with_known_columns(read_table(path), (*COLUMNS, *paths, class_column))
    for name in required:
        if name not in table:
            raise ManifestError(f"{path} needs a column {name!r}; {nearest(name, table.columns)}")
    if table.empty:
        raise ManifestError(f"{path} has no rows; one for each image is needed")
    for column in set(paths) & set(table.columns):
        table[column] = [str((path.parent / name).absolute()) if name else "" for name in table[column]]
    return with_class_column(table, class_column)


def import_csv(
    source: Path | str, out: Path | str, options: ImportOptions | None = None, *, class_column: str = "class"
) -> Cohort:
    """Make a cohort, in the folder ``out``, from a CSV table.

    Its columns are ``image`` (path, relative to the table) and ``class_column`` (images without a class, or with
    ``NA`` or the like, are left out, with the reason in ``dropped.csv``); optionally ``id``, ``subject``,
    ``session``, ``split``, ``effect`` (path of the true effect) and covariates, which are kept.
    """
    source = Path(source)
    table = read_image_table(source, class_column, ("image", class_column), ("image", "effect"))
    table = table.drop(columns="label", errors="ignore")
    table["class"] = without_missing(table["class"])
    for covariate in table.columns.difference(list(COLUMNS)):
        table[covariate] = without_missing(table[covariate])
    for column in {"image", "id", "subject", "split"} & set(table.columns):
        empty = np.flatnonzero(table["class"].ne("") & table[column].eq(""))
        if len(empty):
            raise ManifestError(f"{source}, row {empty[0] + 2}: the cell under {column!r} must not be empty; fill it")
    if "id" not in table:
        table["id"] = [f"{row:05d}" for row in range(len(table))]
    if "subject" not in table:
        table["subject"] = table["id"]
    name, options = f"table {source.name}", options or ImportOptions()
    return import_files(table, Path(out), options, source=name, class_column=class_column)
