"""Make an ADNI-like download of people who do not exist, out of simulated raw scans.

    vagan atrophy truth --healthy-follow-up --raw raw
    python examples/adni_lookalike/simulate.py raw download
    examples/adni.sh "download/ADNI ü" download/tables out --strip none

Healthy scans become MCI and those with the disease AD, in a LONI tree, with study tables and what is wrong with
such: repeated, unprocessed, missing and other images, disputed dates, missing scores, visit codes of a
phase's own, five-digit numbers, people without a diagnosis, and one that reverts. ``truth.csv`` tells the simulated
scan behind each image that the import should take; ``test_subjects.txt`` and ``validation_subjects.txt`` are lists.
"""

import argparse
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from lookalike import GRADWARP, Download, Shot, Subject, Visit, one_dot, subject, write_download

CLASSES = {"baseline": "MCI", "atrophy": "AD"}
SITES = (2, 5, 7, 11, 941)
PHASES = {
    "ADNI1": (date(2006, 3, 9), "1.5", GRADWARP, {}),
    "ADNI2": (date(2011, 5, 2), "3", "MPRAGE", {"bl": "v03", "m12": "v11", "m24": "v21", "m36": "v31", "m48": "v41"}),
    "ADNI4": (date(2023, 2, 1), "3", "Accelerated Sagittal MPRAGE (MSV21)", {"bl": "4_bl", "m12": "4_m12"}),
}
"""First day, field strength, how the wanted image is described, and codes of visits."""
REPEATED = {"ADNI1": GRADWARP.replace("MPR", "MPR-R"), "ADNI2": "MPRAGE repeat", "ADNI4": "MPRAGE Repeat"}
UNCORRECTED = {"ADNI1": "MPR; ; N3", "ADNI2": "MPRAGE_ND", "ADNI4": "MPRAGE_ND"}
DAYS_PER_YEAR = 365.25


def main() -> None:
    """Write the download."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="folder that `vagan atrophy --raw` wrote")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    download = simulate(options.raw, options.out)
    print(f"{len(download.subjects)} people in {download.images} and {download.tables}")


def simulate(raw: Path, out: Path) -> Download:
    """Write a download of the people whose raw scans are in a BIDS folder."""
    scans = _scans(raw)
    names = list(dict.fromkeys(scans["subject"]))
    ill = set(scans["subject"][scans["class"] == "atrophy"])
    parts = {name: part for group in (set(names) - ill, ill) for name, part in _parts(sorted(group)).items()}
    reverting = next(name for name in names if parts[name] == "test" and name not in ill)
    people = {
        name: _person(place, scans[scans["subject"] == name], reverts=name == reverting)
        for place, name in enumerate(names)
    }
    of_image = _images_of(people, scans)
    download = write_download(
        out, [*people.values(), *_others(len(names))], head=lambda *about: _head(of_image, *about)
    )
    for part in ("test", "validation"):
        listed = "".join(f"{people[name].name}\n" for name in names if parts[name] == part)
        (out / f"{part}_subjects.txt").write_text(listed, encoding="utf-8")
    truth = [{"image_id": image, "scan": str(path)} for image, path in of_image.items()]
    pd.DataFrame(truth).to_csv(out / "truth.csv", index=False)
    return download


def _scans(raw: Path) -> pd.DataFrame:
    """One row for each simulated scan, with the facts of its session."""
    sex = pd.read_csv(raw / "participants.tsv", sep="\t").set_index("participant_id")["sex"]
    rows = []
    for path in sorted(raw.glob("sub-*/sub-*_sessions.tsv")):
        for visit in pd.read_csv(path, sep="\t", keep_default_na=False).to_dict("records"):
            name, session = path.parent.name, visit["session_id"]
            image = path.parent / session / "anat" / f"{name}_{session}_T1w.nii.gz"
            rows.append(visit | {"subject": name, "sex": sex[name], "path": image.resolve()})
    return pd.DataFrame(rows)


def _parts(names: list[str]) -> dict[str, str]:
    """Every fourth to test on, every eighth to validate on, the others to learn from."""
    return {
        name: "test" if place % 4 == 3 else "validation" if place % 8 == 2 else "train"
        for place, name in enumerate(names)
    }


def _person(place: int, scans: pd.DataFrame, *, reverts: bool) -> Subject:
    phase = list(PHASES)[place % 3]
    begin, strength, described, codes = PHASES[phase]
    number, digits = (10_001 + place, 5) if phase == "ADNI4" else (101 + place, 4)
    name = subject(number, SITES[place % 5], digits)
    ages = [float(age) for age in scans["age"]]
    visits = []
    for number, (age, known, severity) in enumerate(zip(ages, scans["class"], scans["severity"], strict=True)):
        years = age - ages[0]
        code = f"m{12 * max(round(years), 1)}" if number else "bl"
        image = 10_000 + 100 * place + 10 * number
        visits.append(
            Visit(
                name,
                code,
                begin + timedelta(days=17 * place + round(years * DAYS_PER_YEAR)),
                "AD" if reverts and not number else "MCI" if reverts else CLASSES[known],
                (Shot(image, described, strength, disputed_days=9 * (place % 7 == 3)), *_more(place, image, phase)),
                phase,
                codes.get(code, ""),
                adas13="-4" if place % 5 == 4 and number == 0 else f"{12 + 25 * float(severity):.2f}",
            )
        )
    sex = {"F": "Female", "M": "Male"}[scans["sex"].iloc[0]]
    return Subject(name, tuple(visits), sex, round(ages[0], 1))


def _more(place: int, image: int, phase: str) -> tuple[Shot, ...]:
    """Images of a visit that the import must not take."""
    strength = PHASES[phase][1]
    kinds = {
        0: Shot(image + 1, REPEATED[phase], strength),
        1: Shot(image + 1, "Axial T2 STAR", strength),
        2: Shot(image + 1, PHASES[phase][2], strength, on_disk=False),
        4: Shot(image + 1, UNCORRECTED[phase], strength),
    }
    return (kinds[place % 7],) if place % 7 in kinds else ()


def _others(place: int) -> list[Subject]:
    """People that the import leaves out: always healthy, and without a diagnosis."""
    found = []
    for number, dx in enumerate(("CN", "CN", "")):
        name, begin = subject(901 + number, SITES[number]), PHASES["ADNI1"][0]
        shot = Shot(10_000 + 100 * (place + number))
        found.append(Subject(name, (Visit(name, "bl", begin, dx, (shot,)),), age=70.0 + number))
    return found


def _images_of(people: dict[str, Subject], scans: pd.DataFrame) -> dict[int, Path]:
    """The simulated scan behind the first image of each visit."""
    return {
        visit.shots[0].image: path
        for name, person in people.items()
        for visit, path in zip(person.visits, scans["path"][scans["subject"] == name], strict=True)
    }


def _head(of_image: dict[int, Path], person: Subject, number: int, shot: Shot) -> nib.Nifti1Image:
    if shot.image in of_image:
        return nib.load(of_image[shot.image])
    if "epeat" in shot.description or "MPR-R" in shot.description:
        return _again(nib.load(of_image[person.visits[number].shots[0].image]), shot.image)
    return one_dot(person, number, shot)


def _again(image: nib.Nifti1Image, seed: int) -> nib.Nifti1Image:
    """The same head scanned a second time: other noise, and the axes the other way round."""
    values = np.asarray(image.dataobj, np.float32)
    noise = np.random.default_rng(seed).normal(0, 0.02 * values.max(), values.shape)
    noisy = nib.Nifti1Image(np.where(values > 0, np.abs(values + noise), 0).astype(np.float32), image.affine)
    return noisy.as_reoriented(np.array([[1, -1], [0, 1], [2, 1]]))


if __name__ == "__main__":
    main()
