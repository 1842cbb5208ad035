"""Raw scans in a BIDS tree: any orientation, tilted heads, shading, native size."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.table import write_table
from vagan.data.volume import write_volume
from vagan.files import write_json
from vagan.geometry import Grid, affine_of, move
from vagan.seeding import numpy_generator
from vagan.simulation.fields import Image
from vagan.simulation.simulation import PIVOT_MM, RAW, Clean, Simulation, draw_pose, magnitude, noise_pair, shading
from vagan.simulation.subject import Subject

ORIENTATIONS = ("RAS", "LAS", "PIR", "LPS", "ASL", "RSA")  # where the first, second and third axis of a file point
TILT = replace(RAW, turn_deg=8.0, shift_mm=0.0)  # of every second scan's box

SPACING_MM = 1.1
BRAIN_FIELD_MM = ((-90.0, -125.0, -85.0), (90.0, 100.0, 105.0))
HEAD_FIELD_MM = ((-95.0, -130.0, -125.0), (95.0, 120.0, 110.0))
"""Corners of the box that is scanned, around a head of MNI's size."""

WHITE_MATTER = 1000.0  # intensity in a raw file

DESCRIPTION = "dataset_description.json"
TRUTH = "derivatives/truth"  # exact effects, on the grids of the raw files


def write_tables(folder: Path, table: pd.DataFrame, source: str, *, skull_stripped: bool = True) -> None:
    """Write what BIDS says of a dataset, its participants and their sessions."""
    folder.joinpath(TRUTH).mkdir(parents=True, exist_ok=True)
    facts = {"Name": source, "BIDSVersion": "1.9.0"}
    write_json(folder / DESCRIPTION, facts | {"DatasetType": "raw"})
    derived = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "vagan"}]}
    write_json(folder / TRUTH / DESCRIPTION, facts | derived)
    described = {"Description": "What the disease adds to the scan of the same name", "SkullStripped": skull_stripped}
    write_json(folder / TRUTH / "desc-effect_T1w.json", described)  # of all files so named
    people = table.drop_duplicates("subject")[["subject", "sex"]].rename(columns={"subject": "participant_id"})
    write_table(folder / "participants.tsv", people, delimiter="\t")
    visits = table.drop(columns=["id", "label", "split", "sex"]).rename(columns={"session": "session_id"})
    for name, rows in visits.replace("", "n/a").groupby("subject"):
        write_table(folder / str(name) / f"{name}_sessions.tsv", rows.drop(columns="subject"), delimiter="\t")


@dataclass(frozen=True)
class RawScan:
    """A simulated scan and what is true of it, all on the grid of its file; white matter is about 1."""

    image: Image  # with shading and noise
    clean: Clean  # without either
    bright: Image  # the coil's shading, a factor
    gamma: float  # exponent of its contrast
    affine: NDArray[np.float64]  # takes voxels to mm of the scanner
    own_from_scanner: NDArray[np.float64]
    """Takes points in mm of the scanner to the subject's own space, which all scans of a subject share."""

    @property
    def effect(self) -> Image:
        """What the disease did to the clean image."""
        return self.clean.present - self.clean.healthy


def simulate_scan(simulation: Simulation, subject: Subject, visit: int, spacing_mm: float = SPACING_MM) -> RawScan:
    """Simulate one raw scan; a base without a skull gives a brain with zeros around it."""
    rng = numpy_generator(simulation.seed, "atrophy raw scan", subject.number, visit)
    affine, shape = _draw_grid(rng, subject, spacing_mm, whole=simulation.base.head is not None)
    coordinates = Grid(shape, affine).coordinates()
    own_from_scanner = affine_of(np.eye(3) / subject.size, PIVOT_MM * (1 - 1 / subject.size)) @ draw_pose(rng, RAW)
    gamma = simulation.gamma(subject, rng)
    seen, points = subject.visits[visit], move(own_from_scanner, coordinates)
    clean = simulation.clean(subject, seen, points, spacing_mm=spacing_mm, gamma=gamma, head=True)
    shown = clean.brain | (simulation.base.head is not None)
    clean = replace(clean, present=np.where(shown, clean.present, 0), healthy=np.where(shown, clean.healthy, 0))
    bright = shading(rng, coordinates, RAW)
    image = np.where(shown, magnitude(clean.present * bright, noise_pair(rng, shape, RAW)), 0)
    return RawScan(image, clean, bright, gamma, affine, own_from_scanner)


def write_scan(simulation: Simulation, subject: Subject, visit: int, folder: Path, spacing_mm: float) -> None:
    """Write one raw scan and its exact effect."""
    scan, seen = simulate_scan(simulation, subject, visit, spacing_mm), subject.visits[visit]
    inside, stem = Path(subject.name, seen.session, "anat"), f"{subject.name}_{seen.session}"
    write_volume(folder / inside / f"{stem}_T1w.nii.gz", np.rint(WHITE_MATTER * scan.image), scan.affine)
    if seen.ill:
        path = folder / TRUTH / inside / f"{stem}_desc-effect_T1w.nii.gz"
        write_volume(path, WHITE_MATTER * scan.effect, scan.affine)


def _draw_grid(
    rng: np.random.Generator, subject: Subject, spacing_mm: float, *, whole: bool
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of a file with its axes in some order and direction, and perhaps a tilted box."""
    field = HEAD_FIELD_MM if whole else BRAIN_FIELD_MM
    low, high = (PIVOT_MM + (np.array(corner) - PIVOT_MM) * subject.size for corner in field)
    extent = np.ceil((high - low) / spacing_mm).astype(int)
    tilt = draw_pose(rng, TILT) if rng.random() < 0.5 else np.eye(4)
    code = ORIENTATIONS[rng.integers(len(ORIENTATIONS))]
    axes = [next(axis for axis, pair in enumerate(("LR", "PA", "IS")) if letter in pair) for letter in code]
    linear, first = np.zeros((3, 3)), low + spacing_mm * (extent - 1)
    for column, (axis, letter) in enumerate(zip(axes, code, strict=True)):
        linear[axis, column] = spacing_mm if letter in "RAS" else -spacing_mm
        if letter in "RAS":
            first[axis] = low[axis]
    return tilt @ affine_of(linear, first), tuple(extent[axes].tolist())
