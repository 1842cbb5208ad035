"""Cohorts from a table with one row per image file."""

from collections.abc import Sequence
from pathlib import Path

from vagan.data.cohort import Cohort
from vagan.data.sources.files import Dropped, ImportOptions, import_files
from vagan.data.table import read_table, with_known_columns, without_missing
from vagan.errors import ManifestError, nearest

COLUMNS = ("image", "class", "id", "subject", "session", "split", "effect")
"""Columns with a meaning of their own, in any case of letters; all others are covariates."""


def import_csv(
    source: Path | str,
    out: Path | str,
    options: ImportOptions | None = None,
    *,
    class_column: str = "class",
    classes: Sequence[str] | None = None,
) -> Cohort:
    """Make a cohort from a CSV table.

    Parameters
    ----------
    source
        Columns ``image`` (path, relative to the table) and ``class_column``; optionally ``id``, ``subject``,
        ``session``, ``split``, ``effect`` (path of the true effect) and covariates, which are kept.
    out
        Cohort folder to write.
    options
        See `ImportOptions`.
    class_column
        Column with the class names.
    classes
        The names that may occur; others are an error. Default: whatever occurs but for cells without a value, such as
        ``NA``: their images are left out, with the reason in ``dropped.csv``.
    """
    source, out = Path(source), Path(out)
    table = with_known_columns(read_table(source), (*COLUMNS, class_column))
    for name in ("image", class_column):
        if name not in table:
            raise ManifestError(f"{source} needs a column {name!r}; {nearest(name, table.columns)}")
    if table.empty:
        raise ManifestError(f"{source} has no rows; one for each image is needed")
    if class_column != "class":
        table = table.drop(columns="class", errors="ignore").rename(columns={class_column: "class"})
    table = table.drop(columns="label", errors="ignore")
    table["class"] = without_missing(table["class"], keep=classes or ())
    covariates = [str(name) for name in table if name not in COLUMNS]
    for name in covariates:
        table[name] = without_missing(table[name])
    without_class = table["class"].eq("")
    dropped = [Dropped(path, f"no value in the column {class_column!r}") for path in table["image"][without_class]]
    table = table[~without_class].reset_index(drop=True)
    for column in {"image", "id", "subject", "split"} & set(table.columns):
        empty = [row for row, cell in enumerate(table[column]) if not cell]
        if empty:
            raise ManifestError(
                f"{source}, row {empty[0] + 2}: the cell under {column!r} must not be empty; fill it in"
            )
    unknown = [(row, name) for row, name in enumerate(table["class"]) if classes and name not in classes]
    if unknown:
        row, name = unknown[0]
        raise ManifestError(
            f"{source}, row {row + 2}: the class {name!r} is none of {', '.join(classes or ())}"
            f"{f' ({len(unknown) - 1} more such rows)' if len(unknown) > 1 else ''}; correct the row or --classes"
        )
    for column in ("image", "effect"):
        if column in table:
            table[column] = [str((source.parent / path).absolute()) if path else "" for path in table[column]]
    if "id" not in table:
        table["id"] = [f"{row:05d}" for row in range(len(table))]
    if "subject" not in table:
        table["subject"] = table["id"]
    return import_files(table, out, options or ImportOptions(), source=f"table {source.name}", dropped=dropped)
