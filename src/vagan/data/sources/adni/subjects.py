"""What the tables know of a subject at a scan: the diagnosis with its confidence, and covariates."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeVar

from vagan.data.sources.adni.scans import ImageFacts
from vagan.data.sources.adni.tables import (
    DIAGNOSES,
    UNUSABLE_VISITS,
    Row,
    Tables,
    day,
    first,
    number,
    rid,
    rows_of,
    visit,
    whole,
)

CODES = {1: "CN", 2: "MCI", 3: "AD"}
"""Of the column DIAGNOSIS."""
FLAGS = {"DXNORM": "CN", "DXMCI": "MCI", "DXAD": "AD"}
"""What rows of ADNI1 have instead."""

CLOSE_DAYS = 30


@dataclass(frozen=True)
class Diagnosis:
    """A subject's class at one visit."""

    name: str
    """CN, MCI or AD."""
    visit: str
    day: date | None


@dataclass(frozen=True)
class Label:
    """The class of a scan."""

    name: str
    join: str
    """How scan and diagnosis were brought together, in words."""
    confidence: Literal["high", "medium", "low"]


def read_diagnoses(tables: Tables) -> dict[int, list[Diagnosis]]:
    """Diagnoses of each subject, by roster number."""
    found: dict[int, list[Diagnosis]] = defaultdict(list)
    for subject, row in _by_subject(tables, DIAGNOSES):
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
    """The class of a scan: the diagnosis of its visit, or else the nearest one in time.

    ``code`` and ``made`` are the scan's visit (``bl``, ``m06`` or empty) and date; ``max_days`` the most days between
    a scan and a diagnosis of no known common visit; ``sure_of_scan`` says whether the tables agree on the scan.

    Confidence is high for the same visit with dates at most ``max_days`` apart; medium for the same visit without
    dates, no visit but at most 30 days apart, or tables that disagree about the scan; low where the visits agree and
    the dates do not, or more than 30 days apart.
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

SCORES = {"adas13": ("ADAS", "TOTAL13"), "mmse": ("MMSE", "MMSCORE")}
"""Scores, and the tables and columns that hold them."""

SEXES = {"1": "M", "2": "F", "m": "M", "f": "F", "male": "M", "female": "F"}

Value = TypeVar("Value")


class Covariates:
    """Covariates of every subject, by roster number."""

    def __init__(self, tables: Tables) -> None:
        self._sex = _first_of_each(tables, "PTDEMOG", lambda row: _sex(row.get("PTGENDER", "")))
        # age on a day: at entry, or 0 at birth
        self._ages = _first_of_each(tables, "PTDEMOG", _birth) | _first_of_each(tables, "STUDY_ENTRY", _entry)
        self._scores: dict[str, dict[int, list[tuple[str, date | None, str]]]] = {}
        for name, (table, column) in SCORES.items():
            self._scores[name] = defaultdict(list)
            for subject, row in _by_subject(tables, table):
                if not math.isnan(number(row.get(column, ""))):
                    when = day(first(row, "EXAMDATE", "VISDATE", "USERDATE"))
                    self._scores[name][subject].append((_visit(row), when, row[column]))

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
        found = self._scores[name].get(subject, [])
        for code, _, value in found:
            if code and code == facts.visit:
                return value
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
    """The first value of each subject in a table."""
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
