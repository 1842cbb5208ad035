"""Scans of a LONI download: NIfTI files and DICOM folders, with metadata from their paths.

``.../<PTID>/<description>/<YYYY-MM-DD_HH_MM_SS.0>/<I image or S series>/ADNI_<PTID>_..._S<series>_I<image>.nii``
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vagan.data.dicom_picture import is_dicom_file
from vagan.data.image_file import is_clutter
from vagan.data.sources.adni.tables import PTID, day, ptid
from vagan.data.sources.files import Dropped
from vagan.errors import ManifestError

NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".ima")
NO_IMAGES = (".xml", ".csv", ".txt", ".json", ".pdf", ".html", ".zip", ".log", ".jpg", ".png")
"""What is not asked whether it is DICOM under another name."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[_ ]\d{2}[_:]\d{2}[_:]\d{2}(\.\d+)?")
_IMAGE = re.compile(r"_I(\d+)(?=\.)|^I(\d+)$")
_SERIES = re.compile(r"_S(\d+)(?=_)|^S(\d+)$")
_DESCRIPTION = re.compile(r"_MR_(.+?)_(?:Br_|raw_|br_raw_)*\d{14,17}_")


@dataclass(frozen=True)
class FoundScan:
    """A scan on disk: a NIfTI file, or a folder with one DICOM series."""

    path: Path
    subject: str
    """Its PTID."""
    image_id: str
    """Without the I; empty if the path has none."""
    series_id: str
    """Without the S."""
    description: str
    """As the folder is called: specials of the sequence's name are ``_``."""
    day: date | None
    """When it was made."""


@dataclass(frozen=True)
class Tree:
    """All that is in an image tree."""

    scans: list[FoundScan]
    dropped: list[Dropped]


def find_scans(root: Path) -> Tree:
    """Walk an image tree.

    Raises `ManifestError` if it is no folder, or holds no scan of an ADNI subject.
    """
    if not root.is_dir():
        raise ManifestError(f"{root} must be the folder of an ADNI image download; it does not exist or is a file")
    scans: list[FoundScan] = []
    dropped: list[Dropped] = []
    for folder, folders, files in os.walk(root.resolve()):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        names = sorted(name for name in files if not is_clutter(name))
        place = Path(folder)
        for path, file_name in _scans_of(place, names):
            scan = _from_path(path, file_name)
            if scan.subject:
                scans.append(scan)
            else:
                reason = "neither folder nor file is named after an ADNI subject (002_S_0295)"
                dropped.append(Dropped(str(path), reason))
    if not scans:
        raise ManifestError(
            f"{root} must hold NIfTI or DICOM files below folders such as 002_S_0295/MPRAGE/..., found none"
        )
    return Tree(scans, dropped)


def _scans_of(folder: Path, names: list[str]) -> Iterator[tuple[Path, str]]:
    """Scans that lie in a folder itself; where there is NIfTI, DICOM files beside it are its source."""
    nifti = [name for name in names if name.lower().endswith(NIFTI)]
    for name in nifti:
        yield folder / name, name
    if nifti:
        return
    dicom = next((name for name in names if name.lower().endswith(DICOM)), None)
    others = (name for name in names if not name.lower().endswith(NO_IMAGES))
    dicom = dicom or next((name for name in others if is_dicom_file(folder / name)), None)
    if dicom:
        yield folder, dicom


def _from_path(path: Path, file_name: str) -> FoundScan:
    parts = list(path.parts[:-1]) if path.name == file_name else list(path.parts)
    of_subject = [place for place, part in enumerate(parts) if PTID.fullmatch(part)]
    below = parts[of_subject[-1] + 1 :][:1] if of_subject else []
    described = _DESCRIPTION.search(file_name)
    time = next((part for part in reversed(parts) if _TIME.fullmatch(part)), "")
    return FoundScan(
        path=path,
        subject=parts[of_subject[-1]] if of_subject else ptid(file_name),
        image_id=_number(_IMAGE, file_name) or _number(_IMAGE, parts[-1]),
        series_id=_number(_SERIES, file_name) or _number(_SERIES, parts[-1]),
        description=below[0] if below else described.group(1) if described else "",
        day=day(time[:10]),
    )


def _number(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next(group for group in found.groups() if group).lstrip("0") if found else ""
