"""Scans of a LONI download, what the tables know of them, and which of a visit's T1-weighted images is taken.

``.../<PTID>/<description>/<YYYY-MM-DD_HH_MM_SS.0>/<I image or S series>/ADNI_<PTID>_..._S<series>_I<image>.nii``
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vagan.data.image_file import is_clutter
from vagan.data.picture import is_dicom_file
from vagan.data.sources.adni.tables import COLLECTION, Row, Tables, day, first, loni, number, ptid, rows_of, visit
from vagan.errors import ManifestError

NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".ima")
NO_IMAGES = (".xml", ".csv", ".txt", ".json", ".pdf", ".html", ".zip", ".log", ".jpg", ".png")
"""What is not asked whether it is DICOM under another name."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[_ ]\d{2}[_:]\d{2}[_:]\d{2}(\.\d+)?")
_IMAGE = re.compile(r"_I(\d+)(?=\.)|^I(\d+)$")
_SERIES = re.compile(r"_S(\d+)(?=_)|^S(\d+)$")
_DESCRIPTION = re.compile(r"_MR_(.+?)_(?:Br_|raw_|br_raw_)*\d{14,17}_")


@dataclass(frozen=True)
class FoundScan:
    """A scan on disk: a NIfTI file, or a folder with one DICOM series. What its path does not tell is empty."""

    path: Path
    subject: str  # its PTID
    image_id: str  # without the I
    series_id: str  # without the S
    description: str  # as the folder is called: specials of the sequence's name are ``_``
    day: date | None


def find_scans(root: Path) -> list[FoundScan]:
    """Walk an image tree; scans that are not named after an ADNI subject have an empty ``subject``.

    Raises `ManifestError` if it is no folder, or holds no scan of an ADNI subject.
    """
    if not root.is_dir():
        raise ManifestError(f"{root} must be the folder of an ADNI image download; it does not exist or is a file")
    scans: list[FoundScan] = []
    for folder, folders, files in os.walk(root.resolve()):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        names = sorted(name for name in files if not is_clutter(name))
        scans += [_from_path(path, name) for path, name in _scans_of(Path(folder), names)]
    if not any(scan.subject for scan in scans):
        raise ManifestError(f"{root} must hold NIfTI or DICOM files below folders such as 002_S_0295, found none")
    return scans


def _scans_of(folder: Path, names: list[str]) -> Iterator[tuple[Path, str]]:
    """Scans that lie in a folder itself; where there is NIfTI, DICOM files beside it are its source."""
    nifti = [name for name in names if name.lower().endswith(NIFTI)]
    for name in nifti:
        yield folder / name, name
    if nifti:
        return
    dicom = next((name for name in names if name.lower().endswith(DICOM)), None)
    others = (name for name in names if not name.lower().endswith(NO_IMAGES))
    dicom = dicom or next((name for name in others if is_dicom_file(folder / name)), None)
    if dicom:
        yield folder, dicom


def _from_path(path: Path, file_name: str) -> FoundScan:
    parts = list(path.parts[:-1]) if path.name == file_name else list(path.parts)
    of_subject = [place for place, part in enumerate(parts) if ptid(part) == part]
    below = parts[of_subject[-1] + 1 :][:1] if of_subject else []
    described = _DESCRIPTION.search(file_name)
    time = next((part for part in reversed(parts) if _TIME.fullmatch(part)), "")
    return FoundScan(
        path=path,
        subject=parts[of_subject[-1]] if of_subject else ptid(file_name),
        image_id=_number(_IMAGE, file_name) or _number(_IMAGE, parts[-1]),
        series_id=_number(_SERIES, file_name) or _number(_SERIES, parts[-1]),
        description=below[0] if below else described.group(1) if described else "",
        day=day(time[:10]),
    )


def _number(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next(group for group in found.groups() if group).lstrip("0") if found else ""


COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("IMAGE_ID", "LONIIMAGE", "IMAGE_DATA_ID"),
    "series": ("SERIES_ID", "LONISERIES"),
    "subject": ("SUBJECT_ID", "PTID", "PARTICIPANTID", "SUBJECT"),
    "day": ("IMAGE_DATE", "STUDYDATE", "ACQ_DATE"),
    "description": ("SERIES_DESCRIPTION", "SERIESDESCRIPTION", "IMAGE_DESCRIPTION", "DESCRIPTION"),
    "series_type": ("SERIES_TYPE", "SERIESTYPE"),
    "field": ("MAGNETIC_FIELD_STRENGTH", "MAGNETICFIELDSTRENGTH"),
    "manufacturer": ("SCANNER_MANUFACTURER", "MANUFACTURER"),
    "model": ("SCANNER_MODEL", "MFG_MODEL"),
    "phase": ("MRI_PROTOCOL_PHASE", "MRIPROTOCOLPHASE", "PHASE"),
    "sex": ("SEX",),
    "age": ("AGE",),
}
"""What we call a fact, and the columns that hold it in one table or another."""

VISIT_COLUMNS = ("VISCODE2", "VISIT", "IMAGE_VISIT", "VISCODE")

TABLES_OF_IMAGES = ("KEY_MRI", "MRIQC", "ALL_IMAGES", COLLECTION)
"""Tables with a row for each image, the one that is believed first in front."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image that is on disk; what is not known is empty."""

    scan: FoundScan
    day: date | None
    visit: str  # ``bl``, ``m06``, ...
    field: str  # ``1.5``, ``3``, or another number
    description: str
    series_type: str
    scanner: str
    phase: str
    sex: str
    age: float  # in years, as the image's own row has it; NaN if none has
    sources: tuple[str, ...]  # tables that know the image
    notes: tuple[str, ...]  # what they disagree on

    @property
    def names(self) -> tuple[str, str]:
        """Description and folder in one spelling: ``mpr_gradwarp_b1_correction_n3``."""
        return _plain(self.description), _plain(self.scan.description)

    @property
    def is_repeat(self) -> bool:
        """Whether it is the visit's second scan of the same kind."""
        return any(map(_REPEAT.search, self.names))


def facts_of(tables: Tables, scans: Sequence[FoundScan]) -> list[ImageFacts]:
    """What all tables of images say of the scans on disk."""
    known: dict[str, list[tuple[str, Row]]] = {}
    for scan in scans:
        known |= {f"I{scan.image_id}": [], f"S{scan.series_id}": []}
    for name in TABLES_OF_IMAGES:
        for row in rows_of(tables, name):  # a table of all images that were ever made has a million rows
            for key in (f"I{loni(_value(row, 'image'))}", f"S{loni(_value(row, 'series'))}"):
                if key in known and len(key) > 1:
                    known[key].append((name, row))
    return [_facts(scan, known[f"I{scan.image_id}"] or known[f"S{scan.series_id}"]) for scan in scans]


def _facts(scan: FoundScan, rows: list[tuple[str, Row]]) -> ImageFacts:
    rows = [(name, row) for name, row in rows if ptid(_value(row, "subject")) in ("", scan.subject)]
    told = {fact: next(filter(None, (_value(row, fact) for _, row in rows)), "") for fact in COLUMNS}
    dates = {"path": scan.day} | {name: day(_value(row, "day")) for name, row in rows}
    visits = {name: visit(*(row.get(column, "") for column in VISIT_COLUMNS)) for name, row in rows}
    fields = {name: _tesla(_value(row, "field")) for name, row in rows}
    return ImageFacts(
        scan=scan,
        day=next(filter(None, dates.values()), None),
        visit=next(filter(None, visits.values()), ""),
        field=next(filter(None, fields.values()), ""),
        description=told["description"] or scan.description,
        series_type=told["series_type"],
        scanner=" ".join(filter(None, (told["manufacturer"], told["model"]))),
        phase=told["phase"],
        sex=told["sex"],
        age=next((age for _, row in rows if not math.isnan(age := number(_value(row, "age")))), math.nan),
        sources=tuple(dict.fromkeys(name for name, _ in rows)),
        notes=tuple(
            f"{what}: " + ", ".join(f"{name} {value}" for name, value in values.items() if value)
            for what, values in (("dates", dates), ("visits", visits), ("field", fields))
            if len(set(filter(None, values.values()))) > 1
        ),
    )


def listed_images(tables: Tables) -> Iterator[tuple[str, str]]:
    """Image id and description of each row of the list that came with the images."""
    for row in rows_of(tables, COLLECTION):
        if image := loni(_value(row, "image")):
            yield image, _value(row, "description")


def _value(row: Row, fact: str) -> str:
    return first(row, *COLUMNS[fact])


def _tesla(cell: str) -> str:
    """``3.0``, ``3T``, ``1.5 Tesla MRI``, ``2.9`` -> nominal field strength."""
    found = re.match(r"\d+(\.\d+)?", cell)
    if not found:
        return ""
    value = float(found.group())
    return "1.5" if 1.3 <= value <= 1.7 else "3" if 2.7 <= value <= 3.3 else f"{value:g}"


_T1 = re.compile(r"mp_?rage|mpr(?![a-z])|spgr|^mt1|(^|_)t1(w|_|$)")
_NOT_T1 = re.compile(
    r"localizer|scout|survey|field_?map|calibration|flair|hippo|mask|segment|spatially_normalized|perfusion|phantom|"
    r"resting|(^|_)(dti|asl|pcasl|fmri|t2|pd)(?![a-z])"
)
_UNCORRECTED = re.compile(r"(^|_)nd(_|$)")
_REPEAT = re.compile(r"(^|_)mpr_?r(_|$)|repeat|(^|_)rpt(_|$)|(^|_)rep(_|$)")
_PROCESSED = re.compile(r"gradwarp|(^|_)n3m?(_|$)|b1_correction|(^|_)mt1(_|$)")
_MT1 = re.compile(r"(^|_)mt1(_|$)")


def _plain(description: str) -> str:
    """``MPR; GradWarp; B1 Correction; N3`` and the folder ``MPR__GradWarp__B1_Correction__N3`` in one spelling."""
    return re.sub(r"[^a-z0-9]+", "_", description.lower()).strip("_")


def refusal(facts: ImageFacts) -> str:
    """Why an image cannot be a usable T1-weighted one; an empty string if it can."""
    named, folder = facts.names
    if facts.series_type and not facts.series_type.upper().startswith("T1"):
        return f"not T1-weighted: series type {facts.series_type}"
    if (not facts.series_type and (not _T1.search(named) or _NOT_T1.search(named))) or _NOT_T1.search(folder):
        return f"not known as T1-weighted: {facts.description or 'no description'}"
    if any(map(_UNCORRECTED.search, facts.names)):
        return f"without correction of the gradients' distortion: {facts.description}"
    return ""


def precedence(facts: ImageFacts) -> tuple[bool | int, ...]:
    """Sorting key of T1-weighted images of one visit and field strength; the first is the one to take.

    The authors take an image with GradWarp before one without, then one from the MT1 pipeline, then one with B1
    correction: ``MT1__GradWarp__N3m``, ``MPR__GradWarp__B1_Correction__N3``, ``MPR__GradWarp__N3``, ``MT1__N3m``,
    ``MPR____N3``. Before that, a repeated scan comes after the first one, an unprocessed image after a processed one,
    and an image scaled to another's size after an unscaled one. What is still equal goes by image number.
    """
    named, folder = facts.names
    name = folder if _PROCESSED.search(folder) else named
    return (
        facts.is_repeat,
        _PROCESSED.search(name) is None,
        "scaled" in name,
        "gradwarp" not in name,
        _MT1.search(name) is None,
        "b1_correction" not in name,
        int(facts.scan.image_id or 0),
    )
