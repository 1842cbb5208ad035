"""Input of `vagan preprocess`: a BIDS dataset, a table, a folder, or one scan."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vagan.data.image_file import is_clutter, name_of
from vagan.data.picture import is_dicom_file
from vagan.data.schema import MANIFEST
from vagan.data.sources.bids import entities_of, find_scans, is_bids, mask_beside
from vagan.data.sources.csv import read_image_table
from vagan.data.table import with_class_column
from vagan.data.volume import SUFFIXES
from vagan.errors import ManifestError
from vagan.preprocessing.pipeline import Upstream
from vagan.preprocessing.runner import Job


def collect_scans(source: Path, *, participants: Sequence[str] = (), class_column: str = "class") -> pd.DataFrame:
    """Scans of a source, one row each: ``image``, ``mask``, ``id``, ``subject``, ``session``, perhaps ``class``.

    ``source`` is a BIDS dataset, raw, of fMRIPrep or of Clinica (CAPS); a CSV table with the column ``image`` and
    optionally ``subject``, ``session``, ``mask``, ``split`` and covariates, or a folder with such a ``manifest.csv``;
    a folder of scans, or with a folder of scans for each class; or one scan. ``class_column`` says where the class is
    found. Its absence is no error: scans can be prepared without knowing it.
    """
    if not source.exists():
        raise ManifestError(f"{source} does not exist; give a BIDS folder, a table, a folder of scans, or a scan")
    if source.is_dir() and is_bids(source):
        table = find_scans(source, participants=participants, rank=_rank)
        return with_class_column(table, class_column)
    if (source / MANIFEST).is_file():
        source = source / MANIFEST
    if source.suffix.lower() == ".csv":
        table = _from_table(source, class_column)
    elif source.is_dir() and not _is_dicom(source):
        table = _from_folder(source)
        table["mask"] = [mask_beside(Path(name)) for name in table["image"]]
    else:
        row = {"image": str(source.absolute()), "subject": name_of(source), "mask": mask_beside(source)}
        table = pd.DataFrame([row])
    for column in ("session", "mask"):
        if column not in table:
            table[column] = ""
    if "id" not in table:
        visits = zip(table["subject"], table["session"], strict=True)
        table["id"] = ["_".join(filter(None, visit)) for visit in visits]
    if participants:
        wanted = {name.removeprefix("sub-") for name in participants}
        table = table[table["subject"].str.removeprefix("sub-").isin(wanted)].reset_index(drop=True)
    if table.empty:
        raise ManifestError(f"{source} holds no scan ({', '.join(SUFFIXES)}, or DICOM folders); check the path")
    return table


def jobs_of(table: pd.DataFrame) -> list[Job]:
    """One job for each row."""
    rows = table[["image", "subject", "session", "mask"]].itertuples(index=False, name=None)
    return [
        Job(Path(image), subject, session, Path(mask) if mask else None, upstream_of(Path(image)))
        for image, subject, session, mask in rows
    ]


def upstream_of(path: Path) -> Upstream:
    """Output of Clinica's ``t1-linear`` and of fMRIPrep is known by its name; anything else counts as raw."""
    space, desc = (entities_of(path.name).get(name, "") for name in ("space", "desc"))
    if desc in ("", "Crop") and ("t1_linear" in path.parts or space == "MNI152NLin2009cSym"):
        return "t1-linear"
    return "fmriprep" if (space, desc) == ("", "preproc") else "raw"


def _rank(path: Path) -> int | None:
    """Raw scans before those that others have worked on; what is in a template's space is taken of Clinica alone."""
    upstream = upstream_of(path)
    if upstream == "raw" and {"space", "desc"} & entities_of(path.name).keys():
        return None
    return ("raw", "fmriprep", "t1-linear").index(upstream)


def repeated_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose subject and session came before: they would be written to the same files."""
    bare = [table[name].str.replace(r"^(sub|ses)-|[^A-Za-z0-9]", "", regex=True) for name in ("subject", "session")]
    return table[pd.concat(bare, axis=1).duplicated()]


def _from_table(path: Path, class_column: str) -> pd.DataFrame:
    table = read_image_table(path, class_column, ("image",), ("image", "mask"))
    if "subject" not in table:
        table["subject"] = table.get("id", pd.Series([name_of(Path(name)) for name in table["image"]]))
    return table if {"label", "class"} <= set(table) else table.drop(columns="label", errors="ignore")


def _from_folder(folder: Path) -> pd.DataFrame:
    if here := _scans_in(folder):
        return pd.DataFrame({"image": [str(path.absolute()) for path in here], "subject": map(name_of, here)})
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name))
    rows = [(str(path.absolute()), name_of(path), each.name) for each in inner for path in _scans_in(each)]
    return pd.DataFrame(rows, columns=["image", "subject", "class"])


def _scans_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if not is_clutter(path.name))
    return [
        path
        for path in paths
        if (path.name.lower().endswith(SUFFIXES) and not name_of(path).endswith("_mask"))
        or (path.is_dir() and _is_dicom(path))
    ]


def _is_dicom(folder: Path) -> bool:
    """Whether a folder holds a DICOM file, whatever else is in it."""
    return any(is_dicom_file(path) for path in sorted(folder.iterdir()) if not is_clutter(path.name))
