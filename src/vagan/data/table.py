"""Tables written by spreadsheets, BIDS tools and study exports."""

import codecs
import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from vagan.errors import ManifestError
from vagan.files import regular, replacing

FORMULA = re.compile(r"[=@\t\r]|[+-](?!\d*\.?\d*(?:[eE][+-]?\d+)?$)")
"""Beginning of a text that a spreadsheet computes, or passes to a program, when the table is opened in it."""

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "<na>"})
"""Cells without a value, in lower case: those that BIDS, R, pandas and spreadsheets write."""

MAX_BYTES = 2**30
MAX_HEADER_BYTES = 2**17  # bytes. A table of a million columns takes minutes to read, only to be refused
COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, zip and Excel, xz, bzip2 and zstd."""

_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3},\d{3}")
"""With a decimal comma or, in a table of comma-separated values, thousands grouped by commas."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a table as text, so that identifiers such as ``007`` stay as they are.

    The delimiter is the comma, semicolon or tab that the header line holds. The encoding is UTF-8, UTF-16 with a byte
    order mark, or, if the content is not UTF-8, Windows-1252. White space around cells and column names, and rows
    without any value, are removed. Decimal commas become points in columns that hold nothing but numbers, unless the
    commas might as well group thousands. `ManifestError` if there is no regular file, or no table with a header line.
    """
    try:
        if regular(path).stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        with path.open(encoding=_encoding(path), newline="") as lines:
            names, delimiter = _header(lines.readline())
            lines.seek(0)
            table = pd.read_csv(lines, sep=delimiter, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError as error:
        raise ManifestError(f"the table must exist: {path} does not; check the path") from error
    except (OSError, ValueError) as error:  # parser errors and undecodable text are ValueErrors
        raise ManifestError(f"{path} must be a table with a header line: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first column of longer rows for an index
        raise ManifestError(f"{path} must have as many column names as cells in a row; check its delimiters")
    table.columns = pd.Index([_unescaped(str(name).strip()) for name in table.columns])
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:  # pandas renames the second one
        raise ManifestError(f"{path} must name each column once, but {repeated!r} occurs twice; rename one")
    # a row shorter than the header is filled up with NaN
    table = table.fillna("").map(lambda cell: _unescaped(cell.strip()))
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    return table.apply(lambda column: _with_points(column, grouped=delimiter == ","))


def write_table(
    path: Path, table: pd.DataFrame, *, delimiter: str = ",", digits: int | None = None, in_new_folder: bool = True
) -> None:
    """Write a table in UTF-8, whole or not at all; numbers with so many significant digits, or exactly.

    Text that begins as a `FORMULA`, after apostrophes if any, gets one more in front, which `read_table` removes.
    """
    escaped = table.apply(lambda column: column if is_numeric_dtype(column) else column.map(_escaped))
    escaped.columns = pd.Index([_escaped(str(name)) for name in table.columns])
    form = None if digits is None else f"%.{digits}g"
    with replacing(path, in_new_folder=in_new_folder) as temporary:
        escaped.to_csv(temporary, sep=delimiter, index=False, float_format=form, lineterminator="\n")


def _escaped(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell.lstrip("'")) else cell


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell.lstrip("'")) else cell


def is_missing(cell: str) -> bool:
    """Whether a cell holds no value."""
    return cell.strip().lower() in MISSING


def without_missing(column: pd.Series) -> pd.Series:
    """The same cells, empty where they hold no value."""
    return column.map(lambda cell: "" if is_missing(cell) else cell)


def with_known_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The same table, with columns that differ from one of these names in case alone renamed to it."""
    found: dict[str, str] = {}
    for name in names:
        alike = [column for column in table.columns if column.lower() == name.lower()]
        if name not in table.columns and len(alike) == 1:
            found[alike[0]] = name
    return table.rename(columns=found)


def with_class_column(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The same table, with the column of this name called ``class`` in place of any other one."""
    if name == "class" or name not in table:
        return table
    return table.drop(columns="class", errors="ignore").rename(columns={name: "class"})


def _encoding(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(COMPRESSED):
        raise ValueError("it is compressed, or an Excel workbook; unpack it, or save it as CSV")
    if len(content[: MAX_HEADER_BYTES + 1].split(b"\n", 1)[0]) > MAX_HEADER_BYTES:
        raise ValueError(f"its first line has more than {MAX_HEADER_BYTES} bytes")
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return encoding
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _header(line: str) -> tuple[list[str], str]:
    """Column names and delimiter: the one that makes most columns, since quoted names may hold the others."""
    columns = {mark: next(csv.reader([line], delimiter=mark), []) for mark in (",", ";", "\t")}
    delimiter = max(columns, key=lambda mark: len(columns[mark]))
    return [name.strip() for name in columns[delimiter]], delimiter


def _with_points(column: pd.Series, *, grouped: bool) -> pd.Series:
    cells = [cell for cell in column if not is_missing(cell)]
    with_commas = [cell for cell in cells if "," in cell]
    if not with_commas or not all(_NUMBER.fullmatch(cell) for cell in cells):
        return column
    if grouped and all(_GROUPED.fullmatch(cell) for cell in with_commas):
        return column
    return column.str.replace(",", ".", regex=False)
