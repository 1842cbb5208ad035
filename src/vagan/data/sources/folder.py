"""Cohorts from one folder per class: ``SRC/<class name>/<image file>``."""

import mimetypes
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.image_file import SUFFIXES, is_clutter, name_of, suffix_of
from vagan.data.sources.files import Dropped, ImportOptions, import_files
from vagan.errors import ManifestError


def import_folder(
    source: Path | str, out: Path | str, options: ImportOptions | None = None, *, subject_pattern: str | None = None
) -> Cohort:
    """Make a cohort, in the folder ``out``, from a folder of images for each class in ``source``.

    A folder's name is the class's name; hidden files and folders do not count. ``subject_pattern`` is a regular
    expression with one group that finds the subject in a file's name, e.g. ``(sub-[0-9]+)``; without it every image
    counts as a subject of its own.
    """
    source = Path(source)
    if not source.is_dir():
        raise ManifestError(f"{source} must be a folder with a folder for each class; it does not exist or is a file")
    rows = []
    beside = [path for path in sorted(source.iterdir()) if _is_image(path) and not is_clutter(path.name)]
    dropped = [Dropped(str(path), "beside the folders of the classes; move it into one") for path in beside]
    for folder in sorted(path for path in source.iterdir() if path.is_dir() and not is_clutter(path.name)):
        files = sorted(path for path in folder.iterdir() if path.is_file() and not is_clutter(path.name))
        stems = Counter(name_of(path) for path in files if suffix_of(path))
        for path in files:
            stem = name_of(path)
            if not suffix_of(path):
                reason = f"not an image file of a supported format ({', '.join(SUFFIXES)})"
                dropped.append(Dropped(str(path), reason, folder.name if _is_image(path) else ""))
                continue
            name = f"{folder.name}/{path.name if stems[stem] > 1 else stem}"
            subject = _subject(stem, subject_pattern) if subject_pattern else name
            rows.append({"id": name, "subject": subject, "class": folder.name, "image": str(path.absolute())})
        for path in sorted(folder.rglob("*")):
            if path.parent != folder and _is_image(path) and not is_clutter(*path.relative_to(folder).parts):
                reason = "in a folder inside the folder of its class; move it up"
                dropped.append(Dropped(str(path), reason, folder.name))
    if not rows:
        raise ManifestError(f"{source} holds no image; accepted are {', '.join(SUFFIXES)} in SRC/<class>/")
    name, options = f"folders in {source.name}", options or ImportOptions()
    return import_files(pd.DataFrame(rows), Path(out), options, source=name, dropped=dropped)


def _is_image(path: Path) -> bool:
    """Whether a file's name is that of an image of any format, supported or not."""
    return path.is_file() and bool(suffix_of(path) or (mimetypes.guess_type(path.name)[0] or "").startswith("image/"))


def _subject(stem: str, pattern: str) -> str:
    try:
        found = re.search(pattern, stem)
    except re.error as error:
        raise ManifestError(f"`subject_pattern` {pattern!r} must be a regular expression: {error}") from error
    if not found or not found.groups() or not found.group(1):
        raise ManifestError(f"`subject_pattern` {pattern!r} must find one (group) in every file name: {stem!r}")
    return found.group(1)
