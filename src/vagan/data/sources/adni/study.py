"""From an ADNI download to a manifest of raw scans, with reasons for exclusions and counts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from vagan.data.manifest import Manifest
from vagan.data.schema import DROPPED, MANIFEST
from vagan.data.sources.adni.scans import (
    ImageFacts,
    facts_of,
    find_scans,
    is_repeat,
    listed_images,
    precedence,
    refusal,
)
from vagan.data.sources.adni.subjects import Covariates, Label, label_of, read_diagnoses
from vagan.data.sources.adni.tables import Tables, read_tables, rid
from vagan.data.sources.files import kind_of_reason
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.table import write_table
from vagan.errors import ManifestError
from vagan.files import FolderKind, new_folder


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

    classes: tuple[str, ...] = ("MCI", "AD")
    """Classes that are wanted, the baseline class first; of CN, MCI, AD."""
    max_days: int = 90
    """Most days between a scan and a table's entry without a common visit code."""
    one_field: str = ""
    """Only scans of this field strength: ``1.5`` or ``3``."""
    seed: int = 0
    lists: SubjectLists = DRAWN
    """Subjects whose part is given."""


class _Left(NamedTuple):
    """An image that was left out: a row of ``dropped.csv``."""

    subject: str
    image_id: str
    image: str
    reason: str

    @classmethod
    def of(cls, facts: ImageFacts, reason: str) -> "_Left":
        return cls(facts.scan.subject, facts.scan.image_id, str(facts.scan.path), reason)


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
    dropped: list[_Left] = []
    for facts in facts_of(read, scans):
        of_subject = diagnoses.get(rid(facts.scan.subject) or -1, [])
        label = label_of(of_subject, facts.visit, facts.day, options.max_days, sure_of_scan=not facts.notes)
        if (reason := _refusal(facts, label, options)) or label is None:
            dropped.append(_Left.of(facts, reason))
        else:
            labelled[facts.scan.subject, _session(facts)].append((facts, label))
    chosen = []
    for group in labelled.values():  # of one subject, visit and field strength
        best, *others = sorted(group, key=lambda one: precedence(one[0]))
        chosen.append(best)
        taken = f"taken was I{best[0].scan.image_id} ({best[0].description})"
        for facts, _ in others:
            kind = "repeated scan" if is_repeat(facts) else f"another image of the visit ({facts.description})"
            dropped.append(_Left.of(facts, f"{kind}; {taken}"))
    if not chosen:
        raise ManifestError(f"no scan in {images} is left of {len(scans)}; the first reason: {dropped[0].reason}")
    there = {scan.image_id for scan in scans}
    dropped += [
        _Left("", image, "", f"in the list of the download ({description}), but not among the images")
        for image, description in listed_images(read)
        if image not in there
    ]
    missing = sorted(set(classes) - {label.name for _, label in chosen})
    if missing:
        raise ManifestError(
            f"scans of {' and '.join(classes)} are needed: in {images} are {len(chosen)} that can be used, "
            f"and none is {' or '.join(missing)} by the diagnoses in {tables}; are both downloads complete? If so, "
            "choose other `classes`"
        )
    table = _table(chosen, Covariates(read), options)
    left = pd.DataFrame(dropped, columns=list(_Left._fields))
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
