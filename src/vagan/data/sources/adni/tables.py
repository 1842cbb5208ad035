"""The study tables as LONI exports them, and what stands in their cells."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import pandas as pd

from vagan.data.table import read_table
from vagan.errors import ManifestError

MISSING = frozenset({"", "-4", "-4.0", "-1", "-1.0", "na", "n/a", "nan", "null", "none"})
"""Cells that hold nothing: -4 is ADNI's own code for it, -1 that of a confirmed absence."""

PTID = re.compile(r"\d{3}_S_\d{4,5}")  # site, S, roster number: five digits since ADNI4
BASELINE_VISITS = frozenset({"bl", "sc", "scmri"})

_ISO_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\d)")
_US_DAY = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?!\d)")
_MONTH_CODE = re.compile(r"m(\d{1,3})")
_MONTH_WORDS = re.compile(r"\bmonth (\d+)\b")
_BASELINE_WORDS = re.compile(r"\b(screening|baseline)\b")


def clean(cell: str) -> str:
    """Without white space and stray quotes; an empty string for what means nothing."""
    cell = cell.strip().strip('"').strip()
    return "" if cell.lower() in MISSING else cell


def number(cell: str) -> float:
    """The cell's number; NaN if there is none, as in ``<8``, which is only a bound."""
    try:
        return float(clean(cell) or "nan")
    except ValueError:
        return math.nan


def whole(cell: str) -> int | None:
    """The cell's whole number: ``3``, ``3.0``."""
    value = number(cell)
    return int(value) if value == value // 1 else None


def day(cell: str) -> date | None:
    """A date written 2010-03-01, 2010/3/1, 3/1/2010 (the month first), 3/1/10, with or without a time behind it."""
    text = clean(cell)
    if found := _ISO_DAY.match(text):
        year, month, of_month = map(int, found.groups())
    elif found := _US_DAY.match(text):
        month, of_month, year = map(int, found.groups())
        year += 2000 if year < 100 else 0
    else:
        return None
    try:
        return date(year, month, of_month)
    except ValueError:
        return None


def visit(*cells: str) -> str:
    """The visit as months since baseline, ``bl``, ``m06``, ``m120``, of the first cell that has one; else empty.

    Screening counts as baseline, as for scans it is. Codes whose meaning depends on the phase (``v06``, ``init``,
    ``y1``, ``ADNI2 Year 1 Visit``) are ignored: a subject that came from ADNI1 has another month then.
    """
    for cell in cells:
        text = clean(cell).lower()
        if text in BASELINE_VISITS:
            return "bl"
        if found := _MONTH_CODE.fullmatch(text) or _MONTH_WORDS.search(text):
            return f"m{months:02d}" if (months := int(found.group(1))) else "bl"
        if _BASELINE_WORDS.search(text) and "cont" not in text:
            return "bl"
    return ""


def ptid(cell: str) -> str:
    """The subject's identifier, ``002_S_0295``; an empty string if the cell has none."""
    found = PTID.search(cell)
    return found.group() if found else ""


def rid(cell: str) -> int | None:
    """Roster number, from itself or from the last part of a subject's identifier."""
    name = ptid(cell)
    return int(name.rsplit("_", 1)[1]) if name else whole(cell)


def loni(cell: str) -> str:
    """Number of an image or a series, which tables write with and without their I, D or S."""
    found = re.fullmatch(r"[IDS]?(\d+)(\.0)?", clean(cell), re.IGNORECASE)
    return found.group(1).lstrip("0") if found else ""


NAMES = ("KEY_MRI", "MRIQC", "ALL_IMAGES", "DXSUM", "STUDY_ENTRY", "PTDEMOG", "ADAS", "MMSE")
"""What a table's file is called between prefix and date."""

COLLECTION = "COLLECTION"
"""The list that comes with an image download; its name is free, but its header has the column IMAGE_DATA_ID."""

Row = Mapping[str, str]
Tables = Mapping[str, pd.DataFrame]  # by our names, all cells text: column names in capitals, missing values empty


def rows_of(tables: Tables, name: str) -> Iterator[Row]:
    """The rows of a table; none if there is no such table."""
    frame = tables.get(name, pd.DataFrame())
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(frame.columns, values, strict=True))


def read_tables(folder: Path) -> Tables:
    """Read all tables that are known among the CSV files of a folder and of the folders in it.

    Raises `ManifestError` if there is no table of diagnoses, or several files claim to be the same table.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder} must be a folder with ADNI's tables; it does not exist or is a file")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    tables: dict[str, pd.DataFrame] = {}
    for name in NAMES:
        matching = re.compile(rf"(?:[A-Za-z0-9_]+?_)?{name}(?:_\d{{1,2}}[A-Za-z]{{3}}\d{{4}})?\.csv", re.IGNORECASE)
        found = [path for path in files if matching.fullmatch(path.name)]
        if len(found) > 1:
            listed = ", ".join(str(path.relative_to(folder)) for path in found)
            raise ManifestError(f"only one file may be the table {name}, found {listed}; keep the newest")
        if found:
            tables[name] = read_adni_csv(found[0])
    if "DXSUM" not in tables:
        known = ", ".join(tables) or "no table that is known"
        raise ManifestError(f"{folder} must hold the table of diagnoses, DXSUM; found {known}")
    if collections := [read_adni_csv(path) for path in files if _is_collection(path)]:
        tables[COLLECTION] = pd.concat(collections, ignore_index=True).fillna("")
    return tables


def read_adni_csv(path: Path) -> pd.DataFrame:
    """Read a table as text, whatever its encoding, quotes and byte-order mark."""
    frame = read_table(path)
    frame.columns = pd.Index([re.sub(r"\s+", "_", clean(str(name)).upper()) for name in frame.columns])
    return frame.loc[:, ~frame.columns.duplicated()].map(clean)


def first(row: Row, *columns: str) -> str:
    """The first of some columns that a row has a value in."""
    return next((row[name] for name in columns if row.get(name)), "")


def _is_collection(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return "IMAGE_DATA_ID" in re.sub(r"\s+", "_", file.readline().upper())
