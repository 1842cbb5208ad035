"""The study tables under their current and older names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vagan.data.sources.adni.cells import clean
from vagan.data.table import read_table
from vagan.errors import ManifestError

_PLAIN = """
KEY_MRI MRIQC ALL_IMAGES MPRAGEMETA MRILIST MRIMETA MRI3META MRIQUALITY IMAGEQC DXSUM DXSUM_PDXCONV ADNIMERGE
STUDY_ENTRY PTDEMOG APOERES ADAS ADAS_ADNIGO23 ADASSCORES MMSE
"""
NAMES = {name: name for name in _PLAIN.split()} | {
    "IMAGEQC": r"MRI_IMAGEQC(?:_\d{2}_\d{2}_\d{2})?",
    "DXSUM_PDXCONV": "DXSUM_PDXCONV(?:_ADNIALL)?",
}
"""Our name of a table, and a pattern for the part of its file's name between prefix and date."""

COLLECTION = "COLLECTION"
"""The list that comes with an image download; its name is free, its header is not."""
COLLECTION_MARK = "IMAGE_DATA_ID"

DIAGNOSES = ("DXSUM", "DXSUM_PDXCONV", "ADNIMERGE")


@dataclass(frozen=True)
class Tables:
    """Tables by our names, all cells text: column names in capitals, missing values empty."""

    frames: dict[str, pd.DataFrame]
    files: dict[str, str]
    """File that each was read from."""

    def __contains__(self, name: str) -> bool:
        return name in self.frames

    def rows(self, name: str) -> Iterator[dict[str, str]]:
        """The rows of a table; none if there is no such table."""
        frame = self.frames.get(name)
        if frame is not None:
            names = list(frame.columns)
            for values in frame.itertuples(index=False, name=None):
                yield dict(zip(names, values, strict=True))


def read_tables(folder: Path) -> Tables:
    """Read all tables that are known among the CSV files of a folder and of the folders in it.

    Raises
    ------
    ManifestError
        If there is no table of diagnoses, or several files claim to be the same table.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder} must be a folder with ADNI's tables; it does not exist or is a file")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".csv" and path.is_file())
    frames: dict[str, pd.DataFrame] = {}
    names: dict[str, str] = {}
    for name, pattern in NAMES.items():
        matching = re.compile(
            rf"(?:[A-Za-z0-9_]+?_)?{pattern}(?:_\d{{1,2}}[A-Za-z]{{3}}\d{{4}})?\.csv", re.IGNORECASE
        )
        found = [path for path in files if matching.fullmatch(path.name)]
        if len(found) > 1:
            listed = ", ".join(str(path.relative_to(folder)) for path in found)
            raise ManifestError(f"only one file may be the table {name}, found {listed}; keep the newest")
        if found:
            frames[name], names[name] = read_adni_csv(found[0]), found[0].name
    collections = [path for path in files if path.name not in names.values() and _is_collection(path)]
    if collections:
        frames[COLLECTION] = pd.concat([read_adni_csv(path) for path in collections], ignore_index=True).fillna("")
        names[COLLECTION] = ", ".join(path.name for path in collections)
    if not any(name in frames for name in DIAGNOSES):
        raise ManifestError(
            f"{folder} must hold a table of diagnoses (DXSUM, DXSUM_PDXCONV or ADNIMERGE); "
            f"found {', '.join(names) or 'no table that is known'}"
        )
    return Tables(frames, names)


def read_adni_csv(path: Path) -> pd.DataFrame:
    """Read a table as text, whatever its encoding, quotes and byte-order mark."""
    frame = read_table(path)
    frame.columns = pd.Index([re.sub(r"\s+", "_", clean(str(name)).upper()) for name in frame.columns])
    return frame.loc[:, ~frame.columns.duplicated()].map(clean)


def first(row: dict[str, str], *columns: str) -> str:
    """The first of some columns that a row has a value in."""
    return next((row[name] for name in columns if row.get(name)), "")


def _is_collection(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return COLLECTION_MARK in re.sub(r"\s+", "_", file.readline().upper())
