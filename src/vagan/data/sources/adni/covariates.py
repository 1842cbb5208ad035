"""Covariates of a subject at a scan: age, sex, site, cognitive scores, APOE."""

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

from vagan.data.sources.adni.cells import day, number, rid, visit, whole
from vagan.data.sources.adni.images import ImageFacts
from vagan.data.sources.adni.tables import Tables, first

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
