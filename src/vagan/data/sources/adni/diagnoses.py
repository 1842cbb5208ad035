"""Diagnosis of a subject at a visit, its source, and the confidence of the match."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from vagan.data.sources.adni.cells import UNUSABLE_VISITS, day, rid, visit, whole
from vagan.data.sources.adni.tables import DIAGNOSES, Tables, first

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
    due_to_alzheimer: bool | None
    """Whether dementia was put down to Alzheimer's disease; None if nothing is said."""


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
            cause = whole(row.get("DXDDUE", ""))
            due_to_alzheimer = None if cause is None else cause == 1
            found[subject].append(Diagnosis(name, code, when, f"{table}.{column}", due_to_alzheimer))
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

    Returns
    -------
    Label or None
        Confidence high: same visit, dates at most ``max_days`` apart. Medium: same visit without dates, or no
        visit but at most 30 days apart, or tables disagree about class or scan. Low: the visits agree and the dates
        do not, or more than 30 days apart.
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
