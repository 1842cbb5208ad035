"""Counts of included and excluded images."""

from collections.abc import Iterable

import pandas as pd

from vagan.data.sources.adni.tables import Tables
from vagan.data.sources.files import kind_of_reason
from vagan.data.splits import SubjectLists


def summary_text(table: pd.DataFrame, left: pd.DataFrame, tables: Tables, lists: SubjectLists) -> str:
    """Counts of a manifest and of what was left out, in Markdown. Nothing in it is about a single subject."""
    parts = table.groupby("split")["subject"].nunique()
    counts = {
        "images": len(table),
        "subjects": table["subject"].nunique(),
        "images at 1.5 T": int((table["field_strength"] == "1.5").sum()),
        "images at 3 T": int((table["field_strength"] == "3").sum()),
        **{f"subjects, {part}": int(parts.get(part, 0)) for part in ("train", "test", "validation")},
    }
    classes = [str(name) for name in table.sort_values("label")["class"].unique()]
    later = _changes(table)
    lines = [
        "# ADNI import",
        "",
        *_rows(("", "count"), [(name, f"{count:,}") for name, count in counts.items()]),
        "",
        *_rows(
            ("class", "images", "subjects"),
            [
                (str(name), f"{len(part):,}", f"{part['subject'].nunique():,}")
                for name, part in table.groupby("class")
            ],
        ),
        "",
        f"{later['forward']} subjects went from {classes[0]} to {classes[-1]}, {later['back']} came back.",
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


def _changes(table: pd.DataFrame) -> dict[str, int]:
    """Subjects whose label rises, or falls after that, in the order of their dates."""
    forward = back = 0
    for _, labels in table.groupby("subject")["label"]:
        steps = labels.diff().dropna()
        forward += bool((labels.iloc[0] == 0) and (labels == table["label"].max()).any())
        back += bool((steps < 0).any())
    return {"forward": forward, "back": back}


def _counted(values: pd.Series) -> list[tuple[str, str]]:
    return [(str(name) or "unknown", f"{count:,}") for name, count in values.value_counts().items()]


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
