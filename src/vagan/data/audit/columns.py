"""Covariate columns and table formatting shared by the audits."""

from collections.abc import Sequence

import pandas as pd

COVARIATES = {
    "age": ("age", "age_at_scan"),
    "sex": ("sex",),
    "site": ("site",),
    "field_strength": ("field_strength", "mri_field"),
    "scanner": ("scanner",),
}
"""Covariates that are compared where a manifest has them, and the names of their columns."""


def known_covariates(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns of `COVARIATES` with a value in some row: name of the covariate to column; missing cells are empty."""
    found = {}
    for covariate, names in COVARIATES.items():
        column = next((name for name in names if name in table), None)
        if column is not None and (values := table[column].astype(object).fillna("")).astype(str).ne("").any():
            found[covariate] = values
    return found


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, columns aligned; none without rows."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (head, *rows)]
