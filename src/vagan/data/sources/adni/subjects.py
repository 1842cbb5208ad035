"""What the tables know of a subject at a scan: the diagnosis with its source and confidence, and covariates."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from vagan.data.sources.adni.images import ImageFacts
from vagan.data.sources.adni.tables import DIAGNOSES, UNUSABLE_VISITS, Tables, day, first, number, rid, visit, whole

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")

CODES = {
    "DIAGNOSIS": {1: "CN", 2: "MCI", 3: "AD"},
    "DXCHANGE": {1: "CN", 7: "CN", 9: "CN", 2: "MCI", 4: "MCI", 8: "MCI", 3: "AD", 5: "AD", 6: "AD"},
    "DXCURREN": {1: "CN", 2: "MCI", 3: "AD"},
}
"""Columns of DXSUM in order of precedence, and their codes. DXCHANGE is a change; its end counts."""

FLAGS = {"DXNORM": "CN", "DXMCI": "MCI", "DXAD": "AD"}

WORDS = {
    **dict.fromkeys(("cn", "nl", "smc", "normal"), "CN"),
    **dict.fromkeys(("mci", "emci", "lmci"), "MCI"),
    **dict.fromkeys(("ad", "dementia"), "AD"),
}

CLOSE_DAYS = 30


@dataclass(frozen=True)
class Diagnosis:
    """A subject's class at one visit."""

    name: str
    """CN, MCI or AD."""
    visit: str
    day: date | None
    source: str
    """Table and column."""


@dataclass(frozen=True)
class Label:
    """The class of a scan."""

    diagnosis: Diagnosis
    join: str
    """How scan and diagnosis were brought together, in words."""
    confidence: Confidence
    notes: tuple[str, ...]


def read_diagnoses(tables: Tables) -> dict[int, list[Diagnosis]]:
    """Diagnoses of each subject, by roster number; those of the table that is believed first in front."""
    found: dict[int, list[Diagnosis]] = defaultdict(list)
    for table in DIAGNOSES:
        for row in tables.rows(table):
            subject = rid(first(row, "RID", "PTID"))
            name, column = class_of(row)
            codes = {row.get("VISCODE", "").lower(), row.get("VISCODE2", "").lower()}
            if subject is None or not name or codes & UNUSABLE_VISITS:
                continue
            when = day(first(row, "EXAMDATE", "USERDATE"))
            code = visit(row.get("VISCODE2", ""), row.get("VISCODE", ""))
            found[subject].append(Diagnosis(name, code, when, f"{table}.{column}"))
    return found


def class_of(row: Mapping[str, str]) -> tuple[str, str]:
    """Class and its column, of a row of a table of diagnoses; two empty strings if none does."""
    for column, codes in CODES.items():
        cell = row.get(column, "")
        name = codes.get(whole(cell) or 0) or _in_words(cell)
        if name:
            return name, column
    flagged = [column for column in FLAGS if row.get(column, "").lower()[:3] in ("1", "1.0", "yes")]
    if len(flagged) == 1:
        return FLAGS[flagged[0]], flagged[0]
    name = _in_words(row.get("DX", ""))
    return (name, "DX") if name else ("", "")


def label_of(
    diagnoses: Sequence[Diagnosis], code: str, made: date | None, max_days: int, *, sure_of_scan: bool = True
) -> Label | None:
    """The class of a scan: the diagnosis of its visit, or else the nearest one in time.

    ``code`` and ``made`` are the scan's visit (``bl``, ``m06`` or empty) and date; ``max_days`` the most days between
    a scan and a diagnosis of no known common visit; ``sure_of_scan`` says whether the tables agree on the scan.

    Confidence is high for the same visit with dates at most ``max_days`` apart; medium for the same visit without
    dates, no visit but at most 30 days apart, or tables that disagree about class or scan; low where the visits agree
    and the dates do not, or more than 30 days apart.
    """
    same_visit = [entry for entry in diagnoses if code and entry.visit == code]
    chosen = _nearest(same_visit, made) or next(iter(same_visit), None)
    apart = _days(chosen, made)
    if chosen and apart is not None and apart > max_days:
        nearer = _nearest(diagnoses, made)
        if nearer and (_days(nearer, made) or 0) <= max_days:
            chosen, apart = nearer, _days(nearer, made)
            join = f"date, {apart} days apart; the diagnosis of visit {code} is too far off"
        else:
            join = f"visit {code}, although {apart} days apart"
        return Label(chosen, join, "low", _disputes(diagnoses, chosen))
    if chosen:
        apart_by = "no date to compare" if apart is None else f"{apart} days apart"
        sure: Confidence = "medium" if apart is None else "high"
        return _doubted(diagnoses, chosen, f"visit {code}, {apart_by}", sure, sure_of_scan)
    chosen = _nearest(diagnoses, made)
    apart = _days(chosen, made)
    if chosen is None or apart is None or apart > max_days:
        return None
    return _doubted(diagnoses, chosen, f"date, {apart} days apart", "medium" if apart <= CLOSE_DAYS else "low", True)


def _doubted(diagnoses: Sequence[Diagnosis], chosen: Diagnosis, join: str, sure: Confidence, agreed: bool) -> Label:
    disputes = _disputes(diagnoses, chosen)
    return Label(chosen, join, "medium" if sure == "high" and (disputes or not agreed) else sure, disputes)


def _disputes(diagnoses: Sequence[Diagnosis], chosen: Diagnosis) -> tuple[str, ...]:
    """Other tables' classes for the same visit, where they differ."""

    def differs(entry: Diagnosis) -> bool:
        same_table = entry.source.split(".")[0] == chosen.source.split(".")[0]
        return entry.visit == chosen.visit != "" and entry.name != chosen.name and not same_table

    return tuple(f"{entry.source} says {entry.name}" for entry in diagnoses if differs(entry))


def _nearest(diagnoses: Sequence[Diagnosis], made: date | None) -> Diagnosis | None:
    dated = [(apart, place) for place, entry in enumerate(diagnoses) if (apart := _days(entry, made)) is not None]
    return diagnoses[min(dated)[1]] if dated else None


def _days(entry: Diagnosis | None, made: date | None) -> int | None:
    return abs((entry.day - made).days) if entry and entry.day and made else None


def _in_words(cell: str) -> str:
    """Class of a word, or of the end of a change: ``Conversion: MCI to Dementia``."""
    return WORDS.get(cell.lower().rsplit(" to ", 1)[-1].strip(), "")


DAYS_PER_YEAR = 365.25

SCORES = {
    "adas13": {"ADNIMERGE": "ADAS13", "ADAS": "TOTAL13", "ADAS_ADNIGO23": "TOTAL13", "ADASSCORES": "TOTALMOD"},
    "mmse": {"ADNIMERGE": "MMSE", "MMSE": "MMSCORE"},
}
"""Scores, and the tables and columns that hold them, the one that is believed first in front."""

SEXES = {"1": "M", "2": "F", "m": "M", "f": "F", "male": "M", "female": "F", "x": "", "": ""}


class CovariateIndex:
    """Covariates of every subject, by roster number."""

    def __init__(self, tables: Tables) -> None:
        self._sex: dict[int, str] = {}
        self._alleles: dict[int, str] = {}
        self._ages: dict[int, list[tuple[float, date | None]]] = defaultdict(list)
        self._scores: dict[str, dict[int, list[tuple[str, date | None, str]]]] = {}
        self._read_sex_and_age(tables)
        self._read_apoe(tables)
        for name, columns in SCORES.items():
            self._scores[name] = defaultdict(list)
            for table, column in columns.items():
                for subject, row in _by_subject(tables, table):
                    if not math.isnan(number(row.get(column, ""))):
                        code = visit(row.get("VISCODE2", ""), row.get("VISCODE", ""))
                        when = day(first(row, "EXAMDATE", "VISDATE", "USERDATE"))
                        self._scores[name][subject].append((code, when, row[column]))

    def of(self, facts: ImageFacts, max_days: int) -> dict[str, str]:
        """Columns ``age``, ``sex``, ``site``, ``adas13``, ``mmse``, ``apoe4``; empty where nothing is known."""
        subject = rid(facts.scan.subject) or -1
        return {
            "age": self._age(subject, facts),
            "sex": self._sex.get(subject) or SEXES.get(facts.sex.lower(), ""),
            "site": facts.scan.subject[:3],
            **{name: self._score(name, subject, facts, max_days) for name in SCORES},
            "apoe4": self._alleles.get(subject, ""),
        }

    def _age(self, subject: int, facts: ImageFacts) -> str:
        """In years at the scan: known on some day, and the time since."""
        for age, on in self._ages.get(subject, []):
            if facts.day and on:
                return f"{age + (facts.day - on).days / DAYS_PER_YEAR:.1f}"
        return "" if math.isnan(facts.age) else f"{facts.age:.1f}"

    def _score(self, name: str, subject: int, facts: ImageFacts, max_days: int) -> str:
        """That of the same visit; else the nearest one in time."""
        found = self._scores[name].get(subject, [])
        for code, _, value in found:
            if code and code == facts.visit:
                return value
        dated = [(abs((when - facts.day).days), value) for _, when, value in found if when and facts.day]
        apart, value = min(dated, default=(max_days + 1, ""))
        return value if apart <= max_days else ""

    def _read_sex_and_age(self, tables: Tables) -> None:
        for subject, row in _by_subject(tables, "STUDY_ENTRY"):
            self._know_age(subject, number(row.get("ENTRY_AGE", "")), row.get("ENTRY_DATE", ""))
        for subject, row in _by_subject(tables, "ADNIMERGE"):
            self._know_sex(subject, row)
            at_baseline = visit(row.get("VISCODE", "")) == "bl"
            begin = first(row, "EXAMDATE_BL", *["EXAMDATE"] * at_baseline)
            self._know_age(subject, number(row.get("AGE", "")), begin)  # AGE is that at baseline, in every row
        for subject, row in _by_subject(tables, "PTDEMOG"):
            self._know_sex(subject, row)
            year, month = whole(row.get("PTDOBYY", "")), whole(row.get("PTDOBMM", ""))
            if year:
                self._know_age(subject, 0.0, f"{year}-{month or 7}-1")

    def _read_apoe(self, tables: Tables) -> None:
        for subject, row in _by_subject(tables, "APOERES"):
            alleles = [row.get("APGEN1", ""), row.get("APGEN2", "")]
            alleles = alleles if all(alleles) else row.get("GENOTYPE", "").split("/")
            if len(alleles) == 2:
                self._alleles.setdefault(subject, str(sum(whole(allele) == 4 for allele in alleles)))
        for subject, row in _by_subject(tables, "ADNIMERGE"):
            count = whole(row.get("APOE4", ""))
            if count is not None:
                self._alleles.setdefault(subject, str(count))

    def _know_sex(self, subject: int, row: dict[str, str]) -> None:
        sex = SEXES.get(row.get("PTGENDER", "").lower().removesuffix(".0"), "")
        if sex:
            self._sex.setdefault(subject, sex)

    def _know_age(self, subject: int, age: float, on: str) -> None:
        if not math.isnan(age) and day(on):
            self._ages[subject].append((age, day(on)))


def _by_subject(tables: Tables, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    for row in tables.rows(name):
        subject = rid(first(row, "RID", "PTID", "SUBJECT_ID"))
        if subject is not None:
            yield subject, row
