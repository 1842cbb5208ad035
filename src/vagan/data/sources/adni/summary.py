"""Counts of included and excluded images."""

from collections.abc import Iterable

import pandas as pd

from vagan.data.sources.adni.tables import Tables
from vagan.data.sources.files import kind_of_reason
from vagan.data.splits import SubjectLists


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
        lines += ["", f"{absent:,} subjects of the given lists have no image here."]
    return "\n".join(lines) + "\n"


def _counted(values: pd.Series) -> list[tuple[str, str]]:
    return [(str(name) or "unknown", f"{count:,}") for name, count in values.value_counts().items()]


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
