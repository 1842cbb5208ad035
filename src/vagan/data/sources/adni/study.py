"""From an ADNI download to a manifest of raw scans, with reasons for exclusions and counts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vagan.data.manifest import Manifest
from vagan.data.schema import DROPPED, MANIFEST
from vagan.data.sources.adni.images import (
    ImageFacts,
    ImageIndex,
    in_order,
    is_repeat,
    listed_images,
    quality_failures,
    refusal,
)
from vagan.data.sources.adni.subjects import CONFIDENCES, Confidence, CovariateIndex, Label, label_of, read_diagnoses
from vagan.data.sources.adni.tables import Tables, read_tables, rid
from vagan.data.sources.adni.tree import Tree, find_scans
from vagan.data.sources.files import kind_of_reason
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.table import write_table
from vagan.errors import ManifestError
from vagan.files import FolderKind, new_folder


def summary_text(table: pd.DataFrame, left: pd.DataFrame, tables: Tables, lists: SubjectLists) -> str:
    """Counts of a manifest and of what was left out, in Markdown. Nothing in it is about a single subject."""
    parts = table.groupby("split")["subject"].nunique()
    counts = [
        ("images", len(table)),
        ("subjects", table["subject"].nunique()),
        *((f"images at {field} T", (table["field_strength"] == field).sum()) for field in ("1.5", "3")),
        *((f"subjects, {part}", parts.get(part, 0)) for part in ("train", "test", "validation")),
    ]
    classes = [str(name) for name in table.sort_values("label")["class"].unique()]
    subjects = [labels for _, labels in table.groupby("subject")["label"]]  # in the order of their dates
    forward = sum(labels.iloc[0] == 0 and (labels == table["label"].max()).any() for labels in subjects)
    back = sum((labels.diff() < 0).any() for labels in subjects)
    lines = [
        "# ADNI import",
        "",
        *_rows(("", "count"), [(name, f"{count:,}") for name, count in counts]),
        "",
        *_rows(
            ("class", "images", "subjects"),
            [(str(name), f"{len(of):,}", f"{of['subject'].nunique():,}") for name, of in table.groupby("class")],
        ),
        "",
        f"{forward} subjects went from {classes[0]} to {classes[-1]}, {back} came back.",
        "",
        *_rows(("confidence in the class", "images"), _counted(table["label_confidence"])),
        "",
        *_rows(("source of the class", "images"), _counted(table["label_source"])),
        "",
        *_rows(("reason for exclusion", "images"), _counted(left["reason"].map(kind_of_reason))),
        "",
        "Tables: " + ", ".join(f"{name} ({file})" for name, file in tables.files.items()) + ".",
    ]
    absent = lists.absent(table["subject"])
    if absent:
        lines += ["", f"{len(absent):,} subjects of the given lists have no image here."]
    return "\n".join(lines) + "\n"


def _counted(values: pd.Series) -> list[tuple[str, str]]:
    return [(str(name) or "unknown", f"{count:,}") for name, count in values.value_counts().items()]


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


SUMMARY = "summary.md"
STUDY = FolderKind((MANIFEST, DROPPED, SUMMARY), SUMMARY, "# ADNI import")


@dataclass(frozen=True)
class AdniOptions:
    """Rules of the import."""

    classes: tuple[str, ...] = ("MCI", "AD")
    """Classes that are wanted, the baseline class first; of CN, MCI, AD."""
    max_days: int = 90
    """Most days between a scan and a table's entry without a common visit code."""
    least_confidence: Confidence = "low"
    """Labels that are less sure are left out."""
    one_field: str = ""
    """Only scans of this field strength: ``1.5`` or ``3``."""
    seed: int = 0
    lists: SubjectLists = DRAWN
    """Subjects whose part is given."""


@dataclass(frozen=True)
class _Candidate:
    facts: ImageFacts
    label: Label


def import_adni(images: Path, tables: Path, out: Path, options: AdniOptions | None = None) -> str:
    """Write ``manifest.csv`` for `vagan preprocess`, ``dropped.csv`` and ``summary.md``; return the summary.

    ``images`` is the folder of a LONI image download, NIfTI or DICOM; ``tables`` that of the study tables, of any
    generation. Raises `ManifestError` if nothing usable is there.
    """
    options = options or AdniOptions()
    classes = options.classes
    if len(set(classes)) < max(2, len(classes)) or not set(classes) <= {"CN", "MCI", "AD"}:
        raise ManifestError(f"`classes` must name two or three of CN, MCI and AD, found {' '.join(classes)}")
    tree, read = find_scans(images), read_tables(tables)
    index, failed = ImageIndex(read, tree.scans), quality_failures(read)
    dropped = [_Left("", "", entry.image, entry.reason) for entry in tree.dropped]
    known = [index.facts(scan, options.max_days) for scan in tree.scans]
    usable = []
    for facts in known:
        quality = failed.get(f"I{facts.scan.image_id}") or failed.get(f"S{facts.scan.series_id}")
        reason = refusal(facts)
        if not reason and quality:
            reason = f"failed the study's quality control ({quality})"
        if not reason and options.one_field not in ("", facts.field):
            reason = f"field strength {facts.field or 'unknown'}, not {options.one_field}"
        (dropped.append(_left(facts, reason)) if reason else usable.append(facts))
    candidates, without = _labelled(usable, read, options)
    chosen, others = _one_for_each_visit(candidates)
    dropped += [*without, *others, *_missing(tree, read)]
    if not chosen:
        raise ManifestError(
            f"no scan in {images} is left of {len(tree.scans)}; the first reason: {dropped[0].reason}"
        )
    missing = sorted(set(classes) - {candidate.label.diagnosis.name for candidate in chosen})
    if missing:
        raise ManifestError(
            f"scans of {' and '.join(classes)} are needed: in {images} are {len(chosen)} that can be used, "
            f"and none is {' or '.join(missing)} by the diagnoses in {tables}; are both downloads complete? If so, "
            "choose other `classes`"
        )
    table = _table(chosen, CovariateIndex(read), options)
    left = pd.DataFrame([vars(entry) for entry in dropped], columns=["subject", "image_id", "image", "reason"])
    text = summary_text(table, left, read, options.lists)
    with new_folder(out, STUDY) as folder:
        Manifest(table).write(folder / MANIFEST)
        write_table(folder / DROPPED, left)
        (folder / SUMMARY).write_text(text, encoding="utf-8")
    return text


@dataclass(frozen=True)
class _Left:
    """An image that was left out."""

    subject: str
    image_id: str
    image: str
    reason: str


def _left(facts: ImageFacts, reason: str) -> _Left:
    return _Left(facts.scan.subject, facts.scan.image_id, str(facts.scan.path), reason)


def _labelled(
    images: Sequence[ImageFacts], tables: Tables, options: AdniOptions
) -> tuple[list[_Candidate], list[_Left]]:
    """Images with a class that is wanted, and the others with the reason."""
    diagnoses = read_diagnoses(tables)
    candidates, left = [], []
    for facts in images:
        of_subject = diagnoses.get(rid(facts.scan.subject) or -1, [])
        label = label_of(of_subject, facts.visit, facts.day, options.max_days, sure_of_scan=not facts.notes)
        reason = _refused_label(facts, label, options)
        if label and not reason:
            candidates.append(_Candidate(facts, label))
        else:
            left.append(_left(facts, reason))
    return candidates, left


def _refused_label(facts: ImageFacts, label: Label | None, options: AdniOptions) -> str:
    if label is None:
        when = f"visit {facts.visit}" if facts.visit else "no known visit"
        return f"no diagnosis: {when}, none within {options.max_days} days of {facts.day or 'an unknown date'}"
    if label.diagnosis.name not in options.classes:
        return f"class {label.diagnosis.name}, not one of {' '.join(options.classes)}"
    if CONFIDENCES.index(label.confidence) > CONFIDENCES.index(options.least_confidence):
        return f"class {label.diagnosis.name} with {label.confidence} confidence only: {label.join}"
    return ""


def _session(facts: ImageFacts) -> str:
    """Visit and field strength; the date where no visit is known: ``m12x1p5T``, ``d20100301x3T``."""
    when = facts.visit or (f"d{facts.day:%Y%m%d}" if facts.day else f"i{facts.scan.image_id}")
    return f"{when}x{facts.field.replace('.', 'p')}T" if facts.field else when


def _one_for_each_visit(candidates: Sequence[_Candidate]) -> tuple[list[_Candidate], list[_Left]]:
    """One image for each subject, visit and field strength."""
    groups: dict[tuple[str, str], dict[ImageFacts, _Candidate]] = defaultdict(dict)
    for candidate in candidates:
        groups[candidate.facts.scan.subject, _session(candidate.facts)][candidate.facts] = candidate
    chosen, left = [], []
    for group in groups.values():
        best, *others = in_order(list(group))
        chosen.append(group[best])
        for facts in others:
            kind = "repeated scan" if is_repeat(facts) else f"another image of the visit ({facts.description})"
            left.append(_left(facts, f"{kind}; taken was I{best.scan.image_id} ({best.description})"))
    return chosen, left


def _missing(tree: Tree, tables: Tables) -> list[_Left]:
    """What the download's own list has and the disk has not."""
    there = {scan.image_id for scan in tree.scans}
    return [
        _Left("", image, "", f"in the list of the download ({description}), but not among the images")
        for image, description in listed_images(tables)
        if image not in there
    ]


def _table(chosen: Sequence[_Candidate], covariates: CovariateIndex, options: AdniOptions) -> pd.DataFrame:
    rows = []
    for candidate in chosen:
        facts, label, session = candidate.facts, candidate.label, _session(candidate.facts)
        rows.append(
            {
                "id": f"{facts.scan.subject}_{session}",
                "subject": facts.scan.subject,
                "session": session,
                "label": options.classes.index(label.diagnosis.name),
                "class": label.diagnosis.name,
                "image": str(facts.scan.path),
                "date": str(facts.day or ""),
                **covariates.of(facts, options.max_days),
                "field_strength": facts.field,
                "scanner": facts.scanner,
                "phase": facts.phase,
                "image_id": facts.scan.image_id,
                "description": facts.description,
                "label_source": label.diagnosis.source,
                "label_join": label.join,
                "label_confidence": label.confidence,
                "image_source": ", ".join(facts.sources),
                "notes": "; ".join((*facts.notes, *label.notes)),
            }
        )
    # by date, so that a subject's first row is that of the first diagnosis, by which the parts are stratified
    table = pd.DataFrame(rows).sort_values(["subject", "date", "session"], kind="stable").reset_index(drop=True)
    table.insert(5, "split", assign_splits(table, seed=options.seed, lists=options.lists))
    return table
