"""What the tables know of an image, and which of a visit's T1-weighted images is taken."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from vagan.data.sources.adni.tables import COLLECTION, Tables, day, first, loni, number, ptid, rid, visit, whole
from vagan.data.sources.adni.tree import FoundScan

Row = Mapping[str, str]

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("IMAGE_ID", "IMAGEUID", "LONIIMAGE", "LONI_IMAGE", "IMAGE_DATA_ID"),
    "series": ("SERIES_ID", "SERIESID", "LONISERIES"),
    "subject": ("SUBJECT_ID", "PTID", "PARTICIPANTID", "SUBJECTID", "SUBJECT"),
    "day": ("IMAGE_DATE", "STUDYDATE", "SCANDATE", "ACQ_DATE"),
    "description": ("SERIES_DESCRIPTION", "SERIESDESCRIPTION", "IMAGE_DESCRIPTION", "SEQUENCE", "DESCRIPTION"),
    "series_type": ("SERIES_TYPE", "SERIESTYPE"),
    "field": ("MAGNETIC_FIELD_STRENGTH", "MAGNETICFIELDSTRENGTH", "MAGSTRENGTH", "FIELD_STRENGTH"),
    "manufacturer": ("SCANNER_MANUFACTURER", "MANUFACTURER"),
    "model": ("SCANNER_MODEL", "MFG_MODEL"),
    "phase": ("MRI_PROTOCOL_PHASE", "MRIPROTOCOLPHASE", "COLPROT", "PHASE"),
    "sex": ("SEX",),
    "age": ("AGE",),
}
"""What we call a fact, and the columns that hold it in one table or another."""

VISIT_COLUMNS = ("VISCODE2", "VISIT", "IMAGE_VISIT", "VISCODE")

TABLES_OF_IMAGES = ("KEY_MRI", "MRIQC", "ALL_IMAGES", "MPRAGEMETA", "MRILIST", COLLECTION)
"""Tables with a row for each image, the one that is believed first in front."""

FIELD_TABLES = {"MRIMETA": "1.5", "MRI3META": "3"}
"""Tables of scanning sessions at 1.5 and at 3 tesla, without the images' numbers."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image that is on disk."""

    scan: FoundScan
    day: date | None
    visit: str
    """``bl``, ``m06``, ...; empty if no table has it."""
    field: str
    """``1.5``, ``3``, or empty."""
    description: str
    series_type: str
    scanner: str
    phase: str
    sex: str
    age: float
    """In years, as the image's own row has it; NaN if none has."""
    sources: tuple[str, ...]
    """Tables that know the image."""
    notes: tuple[str, ...]
    """What they disagree on."""


class ImageIndex:
    """What all tables of images say of the scans on disk, and the scanning sessions by subject."""

    def __init__(self, tables: Tables, scans: Sequence[FoundScan]) -> None:
        images, series = {scan.image_id for scan in scans} - {""}, {scan.series_id for scan in scans} - {""}
        self._by_image: dict[str, list[tuple[str, Row]]] = defaultdict(list)
        self._by_series: dict[str, list[tuple[str, Row]]] = defaultdict(list)
        self._sessions: dict[int, list[tuple[str, Row]]] = defaultdict(list)
        for name in TABLES_OF_IMAGES:
            for row in tables.rows(name):
                # a table of all images that were ever made has a million rows: those on disk are kept
                if (image := loni(_value(row, "image"))) in images:
                    self._by_image[image].append((name, row))
                if (of := loni(_value(row, "series"))) in series:
                    self._by_series[of].append((name, row))
        for name in FIELD_TABLES:
            for row in tables.rows(name):
                subject = rid(first(row, "RID", "PTID"))
                if subject is not None and row.get("MMCONDCT") != "0":  # not conducted
                    self._sessions[subject].append((name, row))

    def facts(self, scan: FoundScan, max_days: int) -> ImageFacts:
        """All that is known of a scan; sessions of MRIMETA or MRI3META count up to ``max_days`` away from it."""
        rows = self._rows_of(scan)
        made = scan.day or next(filter(None, (day(_value(row, "day")) for _, row in rows)), None)
        session, apart = self._nearest_session(scan, made)
        sources = [name for name, _ in rows]
        field = next(filter(None, (_tesla(_value(row, "field")) for _, row in rows)), "")
        code = next(filter(None, (_visit(row) for _, row in rows)), "")
        if session and apart <= max_days:
            name, row = session
            field = field or FIELD_TABLES[name]
            code = code or visit(row.get("VISCODE2", ""), row.get("VISCODE", ""))
            sources.append(f"{name} ({apart} d)")
        return ImageFacts(
            scan=scan,
            day=made,
            visit=code,
            field=field,
            description=_any(rows, "description") or scan.description,
            series_type=_any(rows, "series_type"),
            scanner=" ".join(filter(None, (_any(rows, "manufacturer"), _any(rows, "model")))),
            phase=_any(rows, "phase"),
            sex=_any(rows, "sex"),
            age=next((age for _, row in rows if not math.isnan(age := number(_value(row, "age")))), math.nan),
            sources=tuple(dict.fromkeys(sources)),
            notes=tuple(_conflicts(scan, rows)),
        )

    def _rows_of(self, scan: FoundScan) -> list[tuple[str, Row]]:
        """Rows about an image, by its number; by its series' where no image number is known."""
        rows = self._by_image[scan.image_id] if scan.image_id else []
        if not rows and scan.series_id:
            rows = self._by_series[scan.series_id]
        return [(name, row) for name, row in rows if ptid(_value(row, "subject")) in ("", scan.subject)]

    def _nearest_session(self, scan: FoundScan, made: date | None) -> tuple[tuple[str, Row] | None, int]:
        """The session of MRIMETA or MRI3META nearest to a day; none if both are as near."""
        dated = [
            (abs((made - on).days), name, row)
            for name, row in self._sessions.get(rid(scan.subject) or -1, [])
            if made and (on := day(row.get("EXAMDATE", "")))
        ]
        if not dated:
            return None, 0
        apart, name, row = min(dated, key=lambda session: session[0])
        same = {other for gap, other, _ in dated if gap == apart}
        return (None, 0) if len(same) > 1 else ((name, row), apart)


def quality_failures(tables: Tables) -> dict[str, str]:
    """Images (``I123``) and series (``S123``) that the study's quality control rejected, and which table says so."""
    failed: dict[str, str] = {}
    for row in tables.rows("MRIQUALITY"):
        if row.get("PASS") == "0" and (series := loni(row.get("LONIUID", ""))):
            failed[f"S{series}"] = "MRIQUALITY"
    for row in tables.rows("IMAGEQC"):
        if whole(row.get("SERIES_QUALITY", "")) == 4 and (image := loni(row.get("LONI_IMAGE", ""))):
            failed[f"I{image}"] = "MRI_IMAGEQC"
    return failed


def listed_images(tables: Tables) -> Iterator[tuple[str, str]]:
    """Image id and description of each row of the list that came with the images."""
    for row in tables.rows(COLLECTION):
        if image := loni(_value(row, "image")):
            yield image, _value(row, "description")


def _value(row: Row, fact: str) -> str:
    return first(dict(row), *COLUMNS[fact])


def _visit(row: Row) -> str:
    return visit(*(row.get(column, "") for column in VISIT_COLUMNS))


def _any(rows: Iterable[tuple[str, Row]], fact: str) -> str:
    return next(filter(None, (_value(row, fact) for _, row in rows)), "")


def _tesla(cell: str) -> str:
    """``3.0``, ``3T``, ``1.5 Tesla MRI``, ``2.9`` -> nominal field strength."""
    found = re.match(r"\d+(\.\d+)?", cell)
    if not found:
        return ""
    value = float(found.group())
    return "1.5" if 1.3 <= value <= 1.7 else "3" if 2.7 <= value <= 3.3 else f"{value:g}"


def _conflicts(scan: FoundScan, rows: Iterable[tuple[str, Row]]) -> Iterator[str]:
    """What tables say differently of one image."""
    told: dict[str, dict[str, object]] = {
        "dates": {"path": scan.day, **{name: day(_value(row, "day")) for name, row in rows}},
        "visits": {name: _visit(row) for name, row in rows},
        "field": {name: _tesla(_value(row, "field")) for name, row in rows},
    }
    for what, values in told.items():
        known = {name: value for name, value in values.items() if value}
        if len(set(known.values())) > 1:
            yield f"{what}: " + ", ".join(f"{name} {value}" for name, value in known.items())


_T1 = re.compile(r"mp_?rage|mpr(?![a-z])|spgr|^mt1|(^|_)t1(w|_|$)")
_NOT_T1 = re.compile(
    r"localizer|scout|survey|field_?map|calibration|flair|hippo|mask|segment|spatially_normalized|perfusion|phantom|"
    r"resting|(^|_)(dti|asl|pcasl|fmri|t2|pd)(?![a-z])"
)
_REPEAT = re.compile(r"(^|_)mpr_?r(_|$)|repeat|(^|_)rpt(_|$)|(^|_)rep(_|$)")
_PROCESSED = re.compile(r"gradwarp|(^|_)n3m?(_|$)|b1_correction|(^|_)mt1(_|$)")


def plain(description: str) -> str:
    """``MPR; GradWarp; B1 Correction; N3`` and the folder ``MPR__GradWarp__B1_Correction__N3`` in one spelling."""
    return re.sub(r"[^a-z0-9]+", "_", description.lower()).strip("_")


def refusal(facts: ImageFacts) -> str:
    """Why an image cannot be a usable T1-weighted one; an empty string if it can."""
    named, folder = plain(facts.description), plain(facts.scan.description)
    if facts.series_type and not facts.series_type.upper().startswith("T1"):
        return f"not T1-weighted: series type {facts.series_type}"
    if (not facts.series_type and (not _T1.search(named) or _NOT_T1.search(named))) or _NOT_T1.search(folder):
        return f"not known as T1-weighted: {facts.description or 'no description'}"
    if re.search(r"(^|_)nd(_|$)", named) or re.search(r"(^|_)nd(_|$)", folder):
        return f"without correction of the gradients' distortion: {facts.description}"
    return ""


def is_repeat(facts: ImageFacts) -> bool:
    """Whether it is the visit's second scan of the same kind."""
    return bool(_REPEAT.search(plain(facts.description)) or _REPEAT.search(plain(facts.scan.description)))


def in_order(images: Sequence[ImageFacts]) -> list[ImageFacts]:
    """T1-weighted images of one visit and field strength, the one to take first.

    The authors take an image with GradWarp before one without, then one from the MT1 pipeline, then one with B1
    correction: ``MT1__GradWarp__N3m``, ``MPR__GradWarp__B1_Correction__N3``, ``MPR__GradWarp__N3``, ``MT1__N3m``,
    ``MPR____N3``. Before that, a repeated scan comes after the first one, an unprocessed image after a processed one,
    and an image scaled to another's size after an unscaled one. What is still equal goes by image number.
    """

    def rank(facts: ImageFacts) -> tuple[bool | int, ...]:
        name = plain(
            facts.scan.description if _PROCESSED.search(plain(facts.scan.description)) else facts.description
        )
        return (
            is_repeat(facts),
            _PROCESSED.search(name) is None,
            "scaled" in name,
            "gradwarp" not in name,
            re.search(r"(^|_)mt1(_|$)", name) is None,
            "b1_correction" not in name,
            int(facts.scan.image_id or 0),
        )

    return sorted(images, key=rank)
