"""From an ADNI download to a manifest of raw scans: diagnoses, covariates, reasons for exclusions, and counts."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd

from vagan.data.manifest import Manifest
from vagan.data.schema import DROPPED, MANIFEST
from vagan.data.sources.adni.scans import ImageFacts, facts_of, find_scans, listed_images, precedence, refusal
from vagan.data.sources.adni.tables import Row, Tables, day, first, number, read_tables, rid, rows_of, visit, whole
from vagan.data.sources.files import kind_of_reason
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.table import write_table
from vagan.errors import ManifestError
from vagan.files import FolderKind, new_folder

CODES = {1: "CN", 2: "MCI", 3: "AD"}  # of the column DIAGNOSIS
FLAGS = {"DXNORM": "CN", "DXMCI": "MCI", "DXAD": "AD"}  # what rows of ADNI1 have instead
UNUSABLE_VISITS = frozenset({"f", "nv"})  # screen failure, and no visit
CLOSE_DAYS = 30


@dataclass(frozen=True)
class Diagnosis:
    """A subject's class at one visit."""

    name: str  # CN, MCI or AD
    visit: str
    day: date | None


@dataclass(frozen=True)
class Label:
    """The class of a scan."""

    name: str
    join: str  # how scan and diagnosis were brought together, in words
    confidence: Literal["high", "medium", "low"]


def read_diagnoses(tables: Tables) -> dict[int, list[Diagnosis]]:
    """Diagnoses of each subject, by roster number."""
    found: dict[int, list[Diagnosis]] = defaultdict(list)
    for subject, row in _by_subject(tables, "DXSUM"):
        name = class_of(row)
        if name and not {row.get("VISCODE", "").lower(), row.get("VISCODE2", "").lower()} & UNUSABLE_VISITS:
            found[subject].append(Diagnosis(name, _visit(row), day(first(row, "EXAMDATE", "USERDATE"))))
    return found


def class_of(row: Row) -> str:
    """Class that a row of the table of diagnoses gives; an empty string if it gives none."""
    flagged = [name for column, name in FLAGS.items() if whole(row.get(column, "")) == 1]
    return CODES.get(whole(row.get("DIAGNOSIS", "")) or 0, "") or (flagged[0] if len(flagged) == 1 else "")


def label_of(
    diagnoses: Sequence[Diagnosis], code: str, made: date | None, max_days: int, *, sure_of_scan: bool = True
) -> Label | None:
    """The class of a scan: the diagnosis of its visit, or else the nearest one in time, at most ``max_days`` apart.

    ``code`` and ``made`` are the scan's visit (``bl``, ``m06`` or empty) and date; ``sure_of_scan`` says whether the
    tables agree on the scan. Confidence is high for the same visit with dates at most ``max_days`` apart; medium for
    the same visit without dates, no visit but at most 30 days apart, or tables that disagree about the scan; low
    where the visits agree and the dates do not, or more than 30 days apart.
    """

    def days(entry: Diagnosis) -> int | float:
        return abs((entry.day - made).days) if entry.day and made else math.inf

    of_visit = min((entry for entry in diagnoses if code and entry.visit == code), key=days, default=None)
    nearest = min(diagnoses, key=days, default=None)
    if of_visit and math.isinf(days(of_visit)):
        return Label(of_visit.name, f"visit {code}, no date to compare", "medium")
    if of_visit and days(of_visit) <= max_days:
        join = f"visit {code}, {days(of_visit)} days apart"
        return Label(of_visit.name, join, "high" if sure_of_scan else "medium")
    if nearest and days(nearest) <= max_days:
        join = f"date, {days(nearest)} days apart"
        if of_visit:
            return Label(nearest.name, f"{join}; the diagnosis of visit {code} is too far off", "low")
        return Label(nearest.name, join, "medium" if days(nearest) <= CLOSE_DAYS else "low")
    if of_visit:
        return Label(of_visit.name, f"visit {code}, although {days(of_visit)} days apart", "low")
    return None


DAYS_PER_YEAR = 365.25

SCORES = {"adas13": ("ADAS", "TOTAL13"), "mmse": ("MMSE", "MMSCORE")}  # tables and columns of scores
SEXES = {"1": "M", "2": "F", "m": "M", "f": "F", "male": "M", "female": "F"}

Value = TypeVar("Value")


class Covariates:
    """Covariates of every subject, by roster number."""

    def __init__(self, tables: Tables) -> None:
        self._sex = _first_of_each(tables, "PTDEMOG", lambda row: _sex(row.get("PTGENDER", "")))
        # age on a day: at entry, or 0 at birth
        self._ages = _first_of_each(tables, "PTDEMOG", _birth) | _first_of_each(tables, "STUDY_ENTRY", _entry)
        self._scores = defaultdict[tuple[str, int], list[tuple[str, date | None, str]]](list)
        for name, (table, column) in SCORES.items():
            for subject, row in _by_subject(tables, table):
                if not math.isnan(number(row.get(column, ""))):
                    when = day(first(row, "EXAMDATE", "VISDATE", "USERDATE"))
                    self._scores[name, subject].append((_visit(row), when, row[column]))

    def of(self, facts: ImageFacts, max_days: int) -> dict[str, str]:
        """Columns ``age``, ``sex``, ``site``, ``adas13``, ``mmse``; empty where nothing is known."""
        subject = rid(facts.scan.subject) or -1
        age, known = facts.age, self._ages.get(subject)
        if facts.day and known:
            age = known[0] + (facts.day - known[1]).days / DAYS_PER_YEAR
        return {
            "age": "" if math.isnan(age) else f"{age:.1f}",
            "sex": self._sex.get(subject) or _sex(facts.sex),
            "site": facts.scan.subject[:3],
            **{name: self._score(name, subject, facts, max_days) for name in SCORES},
        }

    def _score(self, name: str, subject: int, facts: ImageFacts, max_days: int) -> str:
        """That of the same visit; else the nearest one in time."""
        found = self._scores.get((name, subject), [])
        if of_visit := [value for code, _, value in found if code and code == facts.visit]:
            return of_visit[0]
        dated = [(abs((when - facts.day).days), value) for _, when, value in found if when and facts.day]
        apart, value = min(dated, default=(max_days + 1, ""))
        return value if apart <= max_days else ""


def _sex(cell: str) -> str:
    return SEXES.get(cell.lower().removesuffix(".0"), "")


def _entry(row: Row) -> tuple[float, date] | None:
    age, on = number(row.get("ENTRY_AGE", "")), day(row.get("ENTRY_DATE", ""))
    return None if on is None or math.isnan(age) else (age, on)


def _birth(row: Row) -> tuple[float, date] | None:
    year, month = whole(row.get("PTDOBYY", "")), whole(row.get("PTDOBMM", ""))
    on = day(f"{year}-{month or 7}-1")
    return (0.0, on) if on else None


def _first_of_each(tables: Tables, table: str, value_of: Callable[[Row], Value | None]) -> dict[int, Value]:
    found: dict[int, Value] = {}
    for subject, row in _by_subject(tables, table):
        if value := value_of(row):
            found.setdefault(subject, value)
    return found


def _visit(row: Row) -> str:
    return visit(row.get("VISCODE2", ""), row.get("VISCODE", ""))


def _by_subject(tables: Tables, name: str) -> Iterator[tuple[int, Row]]:
    for row in rows_of(tables, name):
        subject = rid(first(row, "RID", "PTID", "SUBJECT_ID"))
        if subject is not None:
            yield subject, row


def summary_text(table: pd.DataFrame, left: pd.DataFrame, tables: Tables, lists: SubjectLists) -> str:
    """Counts of a manifest and of what was left out, in Markdown. Nothing in it is about a single subject."""
    of_subjects = [labels for _, labels in table.groupby("subject")["label"]]  # in the order of their dates
    forward = sum(labels.iloc[0] == 0 and (labels == table["label"].max()).any() for labels in of_subjects)
    back = sum((labels.diff() < 0).any() for labels in of_subjects)

    def counts(column: str) -> pd.DataFrame:
        return table.groupby(column).agg(images=("subject", "size"), subjects=("subject", "nunique"))

    sections = {
        "Images and subjects": counts("class"),
        "Field strengths (T)": counts("field_strength"),
        "Parts": counts("split"),
        "Confidence in the class": counts("label_confidence"),
        "Reasons for exclusion": left["reason"].map(kind_of_reason).value_counts().to_frame("images"),
    }
    lines = ["# ADNI import", "", f"{len(table)} images of {len(of_subjects)} subjects."]
    for title, found in sections.items():
        lines += ["", f"## {title}", "", "```", found.rename_axis(None).to_string(), "```"]
    lines += ["", f"{forward} subjects went from the first class to the last one, {back} came back."]
    lines += ["", f"Tables: {', '.join(tables)}."]
    if absent := lists.absent(table["subject"]):
        lines += ["", f"{len(absent)} subjects of the given lists have no image here."]
    return "\n".join(lines) + "\n"


SUMMARY = "summary.md"
STUDY = FolderKind((MANIFEST, DROPPED, SUMMARY), SUMMARY, "# ADNI import")


@dataclass(frozen=True)
class AdniOptions:
    """Rules of the import."""

    classes: tuple[str, ...] = ("MCI", "AD")  # classes that are wanted, the baseline class first; of CN, MCI, AD
    max_days: int = 90  # most days between a scan and a table's entry without a common visit code
    one_field: str = ""  # only scans of this field strength: ``1.5`` or ``3``
    seed: int = 0
    lists: SubjectLists = DRAWN


def import_adni(images: Path, tables: Path, out: Path, options: AdniOptions | None = None) -> str:
    """Write ``manifest.csv`` for `vagan preprocess`, ``dropped.csv`` and ``summary.md``; return the summary.

    ``images`` is the folder of a LONI image download, NIfTI or DICOM; ``tables`` that of the study tables. Raises
    `ManifestError` if nothing usable is there.
    """
    options = options or AdniOptions()
    classes = options.classes
    if len(set(classes)) < max(2, len(classes)) or not set(classes) <= {"CN", "MCI", "AD"}:
        raise ManifestError(f"`classes` must name two or three of CN, MCI and AD, found {' '.join(classes)}")
    scans, read = find_scans(images), read_tables(tables)
    diagnoses = read_diagnoses(read)
    labelled: dict[tuple[str, str], list[tuple[ImageFacts, Label]]] = defaultdict(list)
    dropped: list[tuple[str, ...]] = []

    def leave_out(facts: ImageFacts, reason: str) -> None:
        dropped.append((facts.scan.subject, facts.scan.image_id, str(facts.scan.path), reason))

    for facts in facts_of(read, scans):
        of_subject = diagnoses.get(rid(facts.scan.subject) or -1, [])
        label = label_of(of_subject, facts.visit, facts.day, options.max_days, sure_of_scan=not facts.notes)
        if (reason := _refusal(facts, label, options)) or label is None:
            leave_out(facts, reason)
        else:
            labelled[facts.scan.subject, _session(facts)].append((facts, label))
    chosen = []
    for group in labelled.values():  # of one subject, visit and field strength
        best, *others = sorted(group, key=lambda one: precedence(one[0]))
        chosen.append(best)
        taken = f"taken was I{best[0].scan.image_id} ({best[0].description})"
        for facts, _ in others:
            kind = "repeated scan" if facts.is_repeat else f"another image of the visit ({facts.description})"
            leave_out(facts, f"{kind}; {taken}")
    if not chosen:
        raise ManifestError(f"no scan in {images} is left of {len(scans)}; the first reason: {dropped[0][-1]}")
    there = {scan.image_id for scan in scans}
    dropped += [
        ("", image, "", f"in the list of the download ({description}), but not among the images")
        for image, description in listed_images(read)
        if image not in there
    ]
    if missing := sorted(set(classes) - {label.name for _, label in chosen}):
        raise ManifestError(
            f"scans of {' and '.join(classes)} are needed: in {images} are {len(chosen)} that can be used, "
            f"and none is {' or '.join(missing)} by the diagnoses in {tables}; are both downloads complete? If so, "
            "choose other `classes`"
        )
    table = _table(chosen, Covariates(read), options)
    left = pd.DataFrame(dropped, columns=["subject", "image_id", "image", "reason"])
    text = summary_text(table, left, read, options.lists)
    with new_folder(out, STUDY) as folder:
        Manifest(table).write(folder / MANIFEST)
        write_table(folder / DROPPED, left)
        (folder / SUMMARY).write_text(text, encoding="utf-8")
    return text


def _refusal(facts: ImageFacts, label: Label | None, options: AdniOptions) -> str:
    """Why an image is left out; an empty string if it is not."""
    if not facts.scan.subject:
        return "neither folder nor file is named after an ADNI subject (002_S_0295)"
    if reason := refusal(facts):
        return reason
    if options.one_field not in ("", facts.field):
        return f"field strength {facts.field or 'unknown'}, not {options.one_field}"
    if label is None:
        when = f"visit {facts.visit}" if facts.visit else "no known visit"
        return f"no diagnosis: {when}, none within {options.max_days} days of {facts.day or 'an unknown date'}"
    if label.name not in options.classes:
        return f"class {label.name}, not one of {' '.join(options.classes)}"
    return ""


def _session(facts: ImageFacts) -> str:
    """Visit and field strength; the date where no visit is known: ``m12x1p5T``, ``d20100301x3T``."""
    when = facts.visit or (f"d{facts.day:%Y%m%d}" if facts.day else f"i{facts.scan.image_id}")
    return f"{when}x{facts.field.replace('.', 'p')}T" if facts.field else when


def _table(chosen: Sequence[tuple[ImageFacts, Label]], covariates: Covariates, options: AdniOptions) -> pd.DataFrame:
    rows = [
        {
            "id": f"{facts.scan.subject}_{_session(facts)}",
            "subject": facts.scan.subject,
            "session": _session(facts),
            "label": options.classes.index(label.name),
            "class": label.name,
            "image": str(facts.scan.path),
            "date": str(facts.day or ""),
            **covariates.of(facts, options.max_days),
            "field_strength": facts.field,
            "scanner": facts.scanner,
            "phase": facts.phase,
            "image_id": facts.scan.image_id,
            "description": facts.description,
            "label_join": label.join,
            "label_confidence": label.confidence,
            "image_source": ", ".join(facts.sources),
            "notes": "; ".join(facts.notes),
        }
        for facts, label in chosen
    ]
    # by date, so that a subject's first row is that of the first diagnosis, by which the parts are stratified
    table = pd.DataFrame(rows).sort_values(["subject", "date", "session"], kind="stable").reset_index(drop=True)
    table.insert(5, "split", assign_splits(table, seed=options.seed, lists=options.lists))
    return table
