"""A look-alike of an ADNI download: a LONI tree, and study tables with their dirt.

Nobody in it exists. Column names and kinds of dirt are those of the real tables: byte-order marks, quotes, ``-4``,
empty cells, ``<`` and ``>`` before numbers, American dates, visit codes that only their phase understands.
"""

import csv
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np

CODES = {"CN": 1, "MCI": 2, "AD": 3}
GRADWARP = "MPR; GradWarp; B1 Correction; N3"


@dataclass(frozen=True)
class Shot:
    """One image of a visit."""

    image: int
    description: str = GRADWARP
    field: str = "1.5"
    days: int = 0
    """After the visit's examination."""
    on_disk: bool = True
    disputed_days: int = 0
    """By which MRIQC has another date than all others."""

    @property
    def series(self):
        """LONI's number of the series."""
        return self.image // 2 + 10_000


@dataclass(frozen=True)
class Visit:
    """One visit of a subject: what was found, and what was scanned."""

    subject: str
    code: str
    """VISCODE2."""
    day: date
    dx: str
    shots: tuple[Shot, ...]
    phase: str = "ADNI1"
    phase_code: str = ""
    """VISCODE; that of ADNI1 by default."""
    adas13: str = "12.33"

    @property
    def viscode(self):
        """The code that the visit's phase has for it."""
        return self.phase_code or self.code


@dataclass(frozen=True)
class Subject:
    """A made-up participant."""

    name: str
    visits: tuple[Visit, ...]
    sex: str = "Male"
    age: float = 74.3


@dataclass
class Download:
    """What lies on the disk: the image tree, and the folder of tables."""

    images: Path
    tables: Path
    subjects: list[Subject] = field(default_factory=list)

    def path_of(self, image: int) -> Path:
        """The file of an image."""
        return next(path for path in self.images.rglob(f"*_I{image}.nii*"))


def subject(number, site=2, digits=4):
    """A subject's identifier."""
    return f"{site:03d}_S_{number:0{digits}d}"


def small_study():
    """Seven people, each for a rule of the import."""
    a, b, c, d, e, f, g = (subject(n, s, k) for n, s, k in [
        (295, 2, 4), (413, 2, 4), (1001, 5, 4), (4020, 11, 4), (10501, 11, 5), (88, 7, 4), (91, 7, 4)])  # fmt: skip
    first, year = date(2006, 3, 9), timedelta(days=365)
    return [
        # converts; at its first visit at both fields and with a repeated scan, several processed images
        Subject(a, (
            Visit(a, "bl", first, "MCI", (
                Shot(1001, "MPR; ; N3"), Shot(1002), Shot(1003, "MPR-R; GradWarp; B1 Correction; N3"),
                Shot(1004, "MT1; GradWarp; N3m", field="3", days=12),
                Shot(1005, "MPR; GradWarp; B1 Correction; N3; Scaled")), adas13="19.67"),
            Visit(a, "m12", first + year, "MCI", (Shot(1011, days=-20),), adas13="-4"),
            # one table has another date for it
            Visit(a, "m24", first + 2 * year, "AD", (Shot(1021, disputed_days=9),), adas13="31"),
        )),
        # goes to AD and comes back
        Subject(b, (
            Visit(b, "bl", first, "MCI", (Shot(1101),)),
            Visit(b, "m06", first + year / 2, "AD", (Shot(1102),)),
            Visit(b, "m12", first + year, "MCI", (Shot(1103),)),
        ), sex="Female", age=81.0),
        # always healthy: not one of the classes by default; its second scan is not on the disk
        Subject(c, (
            Visit(c, "bl", first, "CN", (Shot(1201),)),
            Visit(c, "m12", first + year, "CN", (Shot(1202, on_disk=False),)),
        )),
        # ADNI2: codes that only the phase understands
        Subject(d, (
            Visit(d, "bl", date(2011, 5, 2), "MCI", (Shot(1301, "MPRAGE", field="3"),), "ADNI2", "v03"),
            Visit(d, "m12", date(2012, 5, 7), "AD", (Shot(1302, "MPRAGE repeat", field="3"),
                                                     Shot(1303, "MPRAGE", field="3")), "ADNI2", "v11"),
        )),
        # ADNI4: five digits
        Subject(e, (
            Visit(e, "bl", date(2024, 2, 1), "AD", (
                Shot(1401, "Accelerated Sagittal MPRAGE (MSV21)", field="3"),
                Shot(1402, "Accelerated Sagittal MPRAGE_ND", field="3"),
                Shot(1403, "Axial T2 STAR", field="3")), "ADNI4", "4_bl"),
        ), sex="Female"),
        # no diagnosis near the scan
        Subject(f, (Visit(f, "bl", first, "", (Shot(1501),)),)),
        # the visit's code is right, but the dates are a year apart
        Subject(g, (Visit(g, "bl", first, "AD", (Shot(1601, days=400),)),)),
    ]  # fmt: skip


def write_download(root, subjects, *, head=None, suffix=".nii"):
    """Write images and tables; ``head(subject, visit number, shot)`` gives an image."""
    download = Download(root / "ADNI ü", root / "tables", list(subjects))
    for person, number, visit, shot in _shots(subjects):
        if shot.on_disk:
            _write_image(download.images, visit, shot, (head or one_dot)(person, number, shot), suffix)
    download.tables.mkdir(parents=True, exist_ok=True)
    _write_tables(download)
    return download


def folder_of(images, visit, shot):
    """The folder of an image, as LONI names it."""
    folder = "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in shot.description)
    time = f"{visit.day + timedelta(days=shot.days):%Y-%m-%d}_10_31_05.0"
    return images / "ADNI" / visit.subject / folder / time / f"I{shot.image}"


def write_rows(path, rows, *, bom=False, quoted=False):
    """Write a table in one of the ways that ADNI's are written."""
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows(rows)


def american(day):
    """M/D/YYYY."""
    return f"{day.month}/{day.day}/{day.year}"


def rid_of(name):
    """The roster number in an identifier."""
    return int(name.rsplit("_", 1)[1])


def _shots(subjects):
    for person in subjects:
        for number, visit in enumerate(person.visits):
            for shot in visit.shots:
                yield person, number, visit, shot


def _write_image(images, visit, shot, image, suffix):
    folder = folder_of(images, visit, shot)
    folder.mkdir(parents=True)
    name = f"ADNI_{visit.subject}_MR_{folder.parts[-3]}_Br_20070319113435930_S{shot.series}_I{shot.image}"
    nib.save(image, folder / f"{name}{suffix}")


def one_dot(_person, _number, shot):
    """A few voxels, where only the import is to be seen."""
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5) + shot.image
    return nib.Nifti1Image(values, np.diag([2.0, 3, 4, 1]))


def _write_tables(download):
    """``All_Subjects_<TABLE>_<date>.csv``, with a byte-order mark and everything quoted."""
    shots = list(_shots(download.subjects))
    key, quality, dxsum, entry, demographics, adas = [], [], [], [], [], []
    for _, _, visit, shot in shots:
        made = visit.day + timedelta(days=shot.days)
        if visit.phase != "ADNI1":  # Key_MRI begins later here, so that MRIQC must tell of ADNI1
            kind = "T2 STAR" if "T2" in shot.description else "T1w"
            key.append({"subject_id": visit.subject, "image_id": f"I{shot.image}", "image_visit": visit.phase_code,
                        "image_date": f"{made:%Y/%m/%d}", "series_type": kind,
                        "series_description": shot.description, "mri_protocol_phase": visit.phase,
                        "magnetic_field_strength": f"{float(shot.field)}", "scanner_manufacturer": "SIEMENS",
                        "scanner_model": "Skyra"})  # fmt: skip
        quality.append({"image_id": shot.image, "ParticipantID": visit.subject, "VISCODE2": visit.code,
                        "StudyDate": f"{made + timedelta(days=shot.disputed_days)}",
                        "SeriesType": "", "MRIProtocolPhase": visit.phase,
                        "SeriesDescription": shot.description, "MagneticFieldStrength": shot.field,
                        "LONISeries": f"S{shot.series}", "LONIImage": f"I{shot.image}"})  # fmt: skip
    for person in download.subjects:
        begin = person.visits[0].day
        entry.append({"subject_id": person.name, "entry_age": person.age, "entry_date": f"{begin}"})
        demographics.append({"PTID": person.name, "RID": rid_of(person.name), "VISCODE2": "sc",
                             "PTGENDER": 1 if person.sex == "Male" else 2,
                             "PTDOBYY": begin.year - int(person.age)})  # fmt: skip
        for visit in person.visits:
            adas.append({"PTID": visit.subject, "RID": rid_of(visit.subject), "VISCODE2": visit.code,
                         "VISDATE": f"{visit.day}", "TOTAL13": visit.adas13})  # fmt: skip
            if visit.dx:
                dxsum.append({"PHASE": visit.phase, "PTID": visit.subject, "RID": rid_of(visit.subject),
                              "VISCODE": visit.viscode, "VISCODE2": visit.code, "EXAMDATE": f"{visit.day}",
                              # the rows of ADNI1 have flags instead
                              "DIAGNOSIS": "" if visit.phase == "ADNI1" else CODES[visit.dx],
                              "DXNORM": _flag(visit, "CN"), "DXMCI": _flag(visit, "MCI"), "DXAD": _flag(visit, "AD"),
                              "DXDDUE": 1 if visit.dx == "AD" else "-4"})  # fmt: skip
    for name, rows in {"Key_MRI": key, "MRIQC": quality, "DXSUM": dxsum, "Study_Entry": entry,
                       "PTDEMOG": demographics, "ADAS": adas}.items():  # fmt: skip
        write_rows(download.tables / f"All_Subjects_{name}_24Nov2026.csv", rows, bom=True, quoted=True)
    listed = [{"Image Data ID": f"I{shot.image}", "Subject": visit.subject, "Group": person.visits[-1].dx,
               "Sex": person.sex[0], "Age": round(person.age), "Visit": visit.viscode, "Modality": "MRI",
               "Description": shot.description, "Type": "Processed",
               "Acq Date": american(visit.day + timedelta(days=shot.days)), "Format": "NiFTI",
               "Downloaded": "11/24/2026"} for person, _, visit, shot in shots]  # fmt: skip
    write_rows(download.tables / "my_collection_11_24_2026.csv", listed, quoted=True)


def _flag(visit, name):
    return ("1" if visit.dx == name else "0") if visit.phase == "ADNI1" else "-4"
