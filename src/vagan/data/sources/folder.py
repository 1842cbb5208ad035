"""Cohorts from one folder per class: ``SRC/<class name>/<image file>``."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.image_file import SUFFIXES, suffix_of
from vagan.data.sources.files import Dropped, ImportOptions, import_files
from vagan.errors import ManifestError


def import_folder(
    source: Path | str, out: Path | str, options: ImportOptions | None = None, *, subject_pattern: str | None = None
) -> Cohort:
    """Make a cohort from folders of images.

    Parameters
    ----------
    source
        Holds one folder for each class; a folder's name is the class's name.
    out
        Cohort folder to write.
    options
        See `ImportOptions`.
    subject_pattern
        Regular expression with one group that finds the subject in a file's name, e.g. ``(sub-[0-9]+)``.
        Without it every image counts as a subject of its own.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise ManifestError(
            f"{source} must be a folder with one folder for each class; it does not exist or is a file"
        )
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ManifestError(
            f"{source} must hold one folder for each class, found none; put the images in SRC/<class>/"
        )
    rows, dropped = [], []
    for folder in folders:
        files = sorted(folder.iterdir())
        stems = Counter(path.name[: -len(suffix_of(path))] for path in files if suffix_of(path))
        for path in files:
            suffix = suffix_of(path)
            if not suffix or not path.is_file():
                dropped.append(Dropped(str(path), f"not an image file ({', '.join(SUFFIXES)})"))
                continue
            stem = path.name[: -len(suffix)]
            name = f"{folder.name}/{path.name if stems[stem] > 1 else stem}"
            rows.append(
                {
                    "id": name,
                    "subject": _subject(stem, subject_pattern) if subject_pattern else name,
                    "class": folder.name,
                    "image": str(path.absolute()),
                }
            )
    if not rows:
        raise ManifestError(f"{source} holds no image; accepted are {', '.join(SUFFIXES)} in SRC/<class>/")
    return import_files(
        pd.DataFrame(rows), out, options or ImportOptions(), source=f"folders in {source.name}", dropped=dropped
    )


def _subject(stem: str, pattern: str) -> str:
    try:
        found = re.search(pattern, stem)
    except re.error as error:
        raise ManifestError(
            f"--subject-pattern must be a regular expression: {pattern!r} is not ({error})"
        ) from error
    if not found or not found.groups() or not found.group(1):
        raise ManifestError(
            f"--subject-pattern {pattern!r} must find one (group) in every file name; it finds none in {stem!r}"
        )
    return found.group(1)
