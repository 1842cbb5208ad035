"""T1-weighted scans and tables of a BIDS dataset."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.sources.files import Dropped, ImportOptions, import_files
from vagan.data.table import is_missing, read_table, with_class_column, with_known_columns
from vagan.errors import ManifestError, nearest

ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
LAYOUTS = [
    f"{folder}/sub-*_T1w.{suffix}"
    for folder in ("sub-*/anat", "sub-*/ses-*/anat", "subjects/sub-*/ses-*/t1_linear")
    for suffix in ("nii", "nii.gz")
]
"""Where scans are looked for: in BIDS datasets and derivatives, and in Clinica's CAPS."""

PASSED_OVER = ("its kind", "contrast agent, ce-", "acq- or rec-", "a later run-", "a later name")
"""Why a scan comes after another of its visit, in this order."""


def is_bids(folder: Path) -> bool:
    """Whether a folder is a BIDS dataset: it says so, or holds ``sub-*`` folders (in Clinica's CAPS, deeper down)."""
    holds = any(folder.glob("sub-*/")) or any(folder.glob("subjects/sub-*/"))
    return holds or (folder / "dataset_description.json").is_file()


def entities_of(name: str) -> dict[str, str]:
    """``sub-01_ses-m00_T1w.nii.gz`` -> ``{"sub": "01", "ses": "m00"}``."""
    return dict(ENTITY.findall(name))


def find_scans(
    folder: Path,
    *,
    participants: Sequence[str] = (),
    rank: Callable[[Path], int | None],
    class_column: str = "",
    dropped: list[Dropped] | None = None,
) -> pd.DataFrame:
    """T1-weighted images of a BIDS dataset, one row for each visit, perhaps of some ``participants`` alone.

    Columns are ``image``, ``mask`` (empty where there is none), ``id``, ``subject``, ``session``, ``class`` if asked
    for, and covariates. `ManifestError` if there is no scan, a participant is not there, or no table has the column.

    Of the images of a visit the one with the lowest ``rank`` is taken, and none whose rank is None; of equals one
    without contrast agent (``ce-``), then without ``acq-`` and ``rec-``, then the first ``run-``, then by name.
    ``class_column`` of ``sub-*[_ses-*]_scans.tsv``, ``sub-*_sessions.tsv``, ``sessions.tsv`` or ``participants.tsv``
    holds the class: the first table that has a value for a scan gives it. All their other columns are covariates. For
    ``DATASET/derivatives/NAME`` the tables of the dataset are asked too. ``dropped`` gets the images that are passed
    over, and those of subjects that no table has, with the reason.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder} must be a BIDS folder; it does not exist or is a file")
    wanted = {name.removeprefix("sub-") for name in participants}
    dropped = [] if dropped is None else dropped
    table = _one_for_each_visit(folder, wanted, rank, dropped)
    if absent := wanted - set(table["subject"].str.removeprefix("sub-")):
        raise ManifestError(f"{folder} has no T1w image of {', '.join(sorted(absent))}; check `participants`")
    if table.empty:
        raise ManifestError(f"{folder} holds no sub-*/[ses-*/]anat/sub-*_T1w.nii[.gz] of this kind; is it BIDS?")
    table = with_known_columns(_with_covariates(table, folder), [class_column] if class_column else [])
    if not class_column:
        return table
    unmatched = _unmatched(table, table.get(class_column, pd.Series("", index=table.index)).eq(""), folder)
    if class_column not in table:
        if len(unmatched) == len(table):
            raise ManifestError(f"{folder}: {unmatched[0].reason}")
        raise ManifestError(
            f"no sessions.tsv or participants.tsv in {folder} has values in the column {class_column!r}; "
            f"{nearest(class_column, [str(name) for name in table if name not in ('image', 'mask', 'id')])}"
        )
    dropped += unmatched
    table = table[~table["image"].isin([one.image for one in unmatched])].reset_index(drop=True)
    return with_class_column(table, class_column)


def _one_for_each_visit(
    folder: Path, wanted: set[str], rank: Callable[[Path], int | None], left_out: list[Dropped]
) -> pd.DataFrame:
    """The preferred scan of each visit of the wanted subjects; all if none is named."""
    found = []
    for path in sorted({path for layout in LAYOUTS for path in folder.glob(layout)}):
        entities, place = entities_of(path.name), rank(path)
        if place is None:
            left_out.append(Dropped(str(path), f"of another kind than asked for (desc-{entities.get('desc', '')})"))
        elif "sub" not in entities:
            raise ManifestError(f"{path} must be named sub-LABEL[_ses-LABEL]_T1w (letters and digits); rename it")
        elif not wanted or entities["sub"] in wanted:
            session = f"ses-{entities['ses']}" if "ses" in entities else ""
            run = entities.get("run", "")
            variants = len({"acq", "rec"} & entities.keys())
            order = (place, "ce" in entities, variants, int(run) if run.isdecimal() else 0, path)
            found.append((f"sub-{entities['sub']}", session, order))
    chosen: dict[tuple[str, str], tuple[Any, ...]] = {}
    for subject, session, order in sorted(found):
        best = chosen.setdefault((subject, session), order)
        if best is not order:
            why = next(why for why, one, other in zip(PASSED_OVER, best, order, strict=True) if one != other)
            reason = f"another scan of its visit is preferred: {best[-1].name} ({why})"
            left_out.append(Dropped(str(order[-1]), reason))
    rows = [
        ("_".join(filter(None, visit)), str(best[-1].absolute()), mask_beside(best[-1]), *visit)
        for visit, best in chosen.items()
    ]
    return pd.DataFrame(rows, columns=["id", "image", "mask", "subject", "session"])


def import_bids(
    source: Path | str,
    out: Path | str,
    options: ImportOptions | None = None,
    *,
    class_column: str,
    desc: str = "preproc",
) -> Cohort:
    """Make a cohort, in the folder ``out``, from images of a BIDS dataset that lie on one grid already.

    Raw scans go through ``vagan preprocess`` instead, which reads BIDS too. For ``class_column`` see `find_scans`;
    ``desc`` is that entity of the images to take, empty for those without any.
    """
    source, dropped = Path(source), list[Dropped]()

    def rank(path: Path) -> int | None:
        return 0 if entities_of(path.name).get("desc", "") == desc else None

    table = find_scans(source, rank=rank, class_column=class_column, dropped=dropped).drop(columns="mask")
    name, options = f"BIDS folder {source.name}", options or ImportOptions()
    return import_files(table, Path(out), options, source=name, class_column=class_column, dropped=dropped)


def _unmatched(table: pd.DataFrame, without_class: pd.Series, folder: Path) -> list[Dropped]:
    """Images without a class whose subject is in no table, and the nearest subject that has no image."""
    tables = (_read_tsv(root / name) for root in _roots(folder) for name in ("participants.tsv", "sessions.tsv"))
    names = (name for table_ in tables for name in table_.get("participant_id", ()))
    known, with_image = {_bare(name): name for name in names}, set(table["subject"].map(_bare))
    free = [name for label, name in known.items() if label not in with_image]
    unmatched = []
    for image, subject in zip(table["image"][without_class], table["subject"][without_class], strict=True):
        if known and _bare(subject) not in known:
            hint = f"; {nearest(subject, free)}" if free else ""
            unmatched.append(Dropped(image, f"no table of the dataset has its subject: {subject}{hint}"))
    return unmatched


def _roots(folder: Path) -> list[Path]:
    """Where tables are: in the dataset, and for derivatives in that of their sources."""
    return [folder, folder.parent.parent] if folder.resolve().parent.name == "derivatives" else [folder]


def mask_beside(path: Path) -> str:
    """A brain mask on the grid of the same image, as fMRIPrep names it; empty if there is none."""
    stem = re.sub(r"(_desc-[A-Za-z0-9]+)?_T1w\.nii(\.gz)?$", "", path.name)
    mask = path.with_name(f"{stem}_desc-brain_mask.nii.gz")
    return str(mask.absolute()) if mask.is_file() else ""


def _with_covariates(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Columns of the tables, the most specific value first."""
    read = lru_cache(maxsize=4)(_read_tsv)  # tables are not read anew for each of thousands of scans
    rows = []
    for visit, image, _, subject, session in table.itertuples(index=False, name=None):
        found: dict[str, str] = {}
        for root in _roots(folder):
            for values in (
                _row_of_scan(read(root / subject / session / f"{visit}_scans.tsv"), Path(image).name),
                _row_of(read(root / subject / f"{subject}_sessions.tsv"), {"session_id": session}),
                _row_of(read(root / "sessions.tsv"), {"participant_id": subject, "session_id": session}),
                _row_of(read(root / "participants.tsv"), {"participant_id": subject}),
            ):
                found = values | found  # what is known already stays
        rows.append(found)
    return table.join(pd.DataFrame(rows, index=table.index)).fillna("")


def _row_of(content: pd.DataFrame, keys: dict[str, str]) -> dict[str, str]:
    for key, value in keys.items():
        if key not in content:
            return {}
        exact = content[key].isin([value, value.split("-", 1)[-1]])
        content = content[exact if exact.any() else content[key].map(_bare) == _bare(value)]
    return {} if content.empty else _values(content.drop(columns=list(keys)).iloc[0])


def _row_of_scan(content: pd.DataFrame, image: str) -> dict[str, str]:
    """What is said of the image, or, where it was derived from the one that is listed, of the visit's only T1w."""
    if "filename" not in content:
        return {}
    names = content["filename"].str.rsplit("/", n=1).str[-1]
    of_image = content[names == image]
    if of_image.empty:
        of_image = content[names.str.contains(r"_T1w\.nii", regex=True)]
    return _values(of_image.drop(columns="filename").iloc[0]) if len(of_image) == 1 else {}


def _values(row: pd.Series) -> dict[str, str]:
    reserved = {"image", "mask", "id", "subject", "session", "label", "split"}
    return {str(name): value for name, value in row.items() if not is_missing(value) and name not in reserved}


def _bare(label: str) -> str:
    """A label as tables abbreviate it: without its prefix and leading zeros."""
    return re.sub(r"^[a-z]+-", "", label).lstrip("0")


def _read_tsv(path: Path) -> pd.DataFrame:
    known = ("participant_id", "session_id", "filename")
    return with_known_columns(read_table(path), known) if path.is_file() else pd.DataFrame()
