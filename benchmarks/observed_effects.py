"""How near observed effects come to the exact ones, beside what noise, misalignment and shading allow.

Simulated subjects (`vagan atrophy`) are scanned twice, patients before and with the disease. Their raw scans are
written, read and prepared as by `vagan preprocess`, and compared as by `vagan evaluate --longitudinal`. The exact
effect of the disease is known on the later scan's grid. Beside NCC(observed, exact) stand ceilings: of the same scans
as the simulation made them, the true shading and pose undone, and then, one after the other, with

``noise``         nothing but the scans' own noise, and the ageing between them
``misaligned``    and the earlier scan where the pipeline laid it
``shaded``        and the shading that coils and pipeline left between the two: the ceiling that counts
``contrast``      and the earlier scan's own contrast
``nominal``       instead: noise, 0.1 degrees, 0.2 mm and 2 % of shading, whatever the pipeline did

What stable subjects say the ceiling is, without knowing the truth, is ``estimated``. Writes ``observed_effects.json``
to ``benchmarks/results``. About 40 s a subject on an idle core; with ``--work`` a run goes on where it stopped.

    python benchmarks/observed_effects.py --work /tmp/observed
"""

import argparse
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from study import keep

from vagan.constants import BACKGROUND
from vagan.data.volume import write_volume
from vagan.effect import difference
from vagan.evaluation.longitudinal.evaluate import noise_ceiling
from vagan.evaluation.longitudinal.observed import Observed, linear_match, observe
from vagan.evaluation.metrics.agreement import ncc
from vagan.geometry import Grid, resample, transform_points
from vagan.preprocessing.pipeline import Pipeline, Prepared, make_pipeline
from vagan.preprocessing.scan import Scan, read_scan
from vagan.progress import track
from vagan.simulation.raw import WHITE_MATTER, RawScan, simulate_scan
from vagan.simulation.simulation import Protocol, Simulation, draw_pose, shading
from vagan.simulation.subject import Subject, draw_subject

SEED = 11
SHAPES = {1.3: (128, 160, 112), 2.6: (64, 80, 56)}
NOMINAL = Protocol(turn_deg=0.1 / np.sqrt(3), shift_mm=0.2 / np.sqrt(3), zoom=0.0, shading=0.02)
SUBTYPES = ("hippocampal", "ventricular")


@dataclass(frozen=True)
class Pair:
    """Two scans of a subject as prepared, and as they were simulated."""

    subject: Subject
    before: Scan
    after: Scan
    true_before: RawScan
    true_after: RawScan
    shading: tuple[np.ndarray, np.ndarray]
    """Of each scan on its raw grid, the log of what coil and pipeline multiplied it by."""
    zero: float
    """Prepared intensity of the later scan that was 0 in the scanner."""


def main() -> None:
    options = _parse()
    place = nullcontext(options.work) if options.work else TemporaryDirectory()
    with place as folder:
        result = measure(Path(folder), options)
    settings = {name: value for name, value in vars(options).items() if name not in ("work", "trial")}
    result = {"question": __doc__.split("\n")[0], "options": settings, **result}
    print(as_table(result))
    if not options.trial:
        keep("observed_effects", result)


def measure(work: Path, options: argparse.Namespace) -> dict:
    """Scores of all patients, and what stable subjects say."""
    simulation = Simulation.on(options.base, seed=SEED)
    pipeline = make_pipeline(
        strip=options.strip or None,
        spacing_mm=options.spacing_mm,
        shape=SHAPES[options.spacing_mm],
        template=_coarse_template(simulation, work, options.template_mm),
    )
    people = [draw_subject(1 + n, SUBTYPES[n % 2], seed=SEED) for n in range(options.patients)]
    healthy = [draw_subject(101 + n, "", seed=SEED, healthy_follow_up=True) for n in range(options.healthy)]
    mixed = sorted([*people, *healthy], key=lambda subject: subject.number % 100)
    rows = []
    for subject in track(mixed, len(mixed), "comparing pairs"):
        known = work / f"{subject.name}.json"
        if not known.is_file():
            row = compare(simulation, subject, pipeline, work, options.raw_spacing_mm)
            known.write_text(json.dumps(row), encoding="utf-8")
        rows.append(json.loads(known.read_text(encoding="utf-8")))
        print(rows[-1], flush=True)
    patients = [row for row in rows if row["subtype"]]
    noise = [row["variance"] for row in rows if not row["subtype"]]
    for row in patients:
        row["estimated"] = noise_ceiling(row["variance"], float(np.mean(noise))) if noise else None
    return {"pairs": patients, "stable": len(noise), "means": means(patients)}


def compare(simulation: Simulation, subject: Subject, pipeline: Pipeline, work: Path, spacing_mm: float) -> dict:
    """What is found of one subject."""
    true = [simulate_scan(simulation, subject, visit, spacing_mm) for visit in (0, 1)]
    prepared, shaded = [], []
    for visit, scan in zip(subject.visits, true, strict=True):
        path = work / f"{subject.name}_{visit.session}_T1w.nii.gz"
        write_volume(path, np.rint(WHITE_MATTER * scan.image), scan.affine)
        found, divided = prepare(read_scan(path), pipeline)
        prepared.append(found)
        shaded.append(
            np.log(scan.bright) - resample(divided.image, divided.grid, Grid(scan.image.shape, scan.affine))
        )
        path.unlink()
    rescaled = next(step["found"] for step in prepared[1].record if step["step"] == "rescale")
    zero = BACKGROUND - 2 * rescaled["low"] / (rescaled["high"] - rescaled["low"])
    pair = Pair(subject, *(found.scan for found in prepared), *true, (shaded[0], shaded[1]), zero)
    found = observe(pair.before, pair.after, zero=zero)
    row = {"subject": subject.name, "subtype": subject.subtype, "severity": subject.severity}
    row |= {"variance": float(found.effect[found.mask].var()), "similarity": found.facts["similarity"]}
    return row | scores(pair, found)


def prepare(raw, pipeline: Pipeline) -> tuple[Prepared, Scan]:
    """A prepared scan, and the log of the field that its bias correction divided by, on the grid it was found on."""
    seen: list[tuple[str, Scan]] = []
    prepared = pipeline.run(raw, on_step=lambda step, scan: seen.append((step, scan)))
    at = next(number for number, (step, _) in enumerate(seen) if step == "correct-bias")
    before, after = seen[at - 1][1], seen[at][1]
    known = before.image > 0
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    field = np.log(before.image, where=known, out=np.zeros_like(before.image))
    field -= np.log(after.image, where=known, out=np.zeros_like(field))
    return prepared, after.with_image(field[tuple(nearest)])


def scores(pair: Pair, found: Observed) -> dict:
    """NCC with the exact effect within the brain of both scans: of the observed one, and of the ceilings."""
    exact = _on_grid(pair, np.where(pair.true_after.clean.brain, pair.true_after.effect, 0), pair.true_after)
    true, laid = before_from_after(pair), np.array(found.facts["before_from_after"])
    laid = np.linalg.inv(pair.before.template_from_scanner) @ laid @ pair.after.template_from_scanner
    left = residual_shading(pair, found, laid)
    rng = np.random.default_rng([SEED, pair.subject.number])
    places = pair.after.grid.coordinates()
    random = {"at": true @ draw_pose(rng, NOMINAL), "bright": shading(rng, places, NOMINAL)}
    ladder = {
        "noise": {"at": true},
        "misaligned": {"at": laid},
        "shaded": {"at": laid, "bright": np.exp(left)},
        "contrast": {"at": laid, "bright": np.exp(left), "own_contrast": True},
        "nominal": random,
    }
    figures = {"misalignment_mm": _apart(pair, true, laid), "shading_left": float(left[found.mask].std())}
    if not pair.subject.subtype:
        return figures  # there is no effect to agree with
    figures |= {
        "observed": agreement(found.effect, exact, found.mask),
        "observed, whole volume": float(ncc(found.effect[None, None], exact[None, None])[0]),
    }
    return figures | {
        name: agreement(ideal(pair, found.mask, **how), exact, found.mask) for name, how in ladder.items()
    }


def before_from_after(pair: Pair) -> np.ndarray:
    """The true map between the scanner's mm of the two scans."""
    return np.linalg.inv(pair.true_before.own_from_scanner) @ pair.true_after.own_from_scanner


def ideal(pair: Pair, mask, *, at, bright=1.0, own_contrast: bool = False) -> np.ndarray:
    """Later minus earlier scan as the simulation made them, without the coils' shading, with these disturbances."""
    after = _on_grid(pair, pair.true_after.image / pair.true_after.bright, pair.true_after)
    before = _on_grid(pair, clean_of(pair.true_before, None if own_contrast else pair.true_after.gamma),
                      pair.true_before, at)  # fmt: skip
    noise = pair.true_before.image / pair.true_before.bright - pair.true_before.clean.present
    before = before * bright + _on_grid(pair, noise, pair.true_before, at)
    if own_contrast:
        gain, offset = linear_match(before[mask], after[mask])
        before = gain * before + offset
    return difference(after, before)


def clean_of(scan: RawScan, gamma: float | None) -> np.ndarray:
    """A scan without shading and noise, with its own contrast or another."""
    return scan.clean.present if gamma is None else scan.clean.present ** (gamma / scan.gamma)


def residual_shading(pair: Pair, found: Observed, laid) -> np.ndarray:
    """Log of what is left between the matched earlier scan and the later one of coils, N4 and the matching."""
    before, after = (
        _on_grid(pair, shading, scan, at)
        for shading, scan, at in zip(pair.shading, (pair.true_before, pair.true_after), (laid, None), strict=True)
    )
    left = before + found.shading - after
    return left - np.median(left[found.mask])  # one gain for all is matched


def agreement(one, other, mask) -> float:
    """NCC within a mask."""
    return float(ncc(one[mask][None, None], other[mask][None, None])[0])


def _on_grid(pair: Pair, values, scan: RawScan, before_from_after=None) -> np.ndarray:
    """Values of a raw scan on the later prepared scan's grid, by the resampling that `Conform` does."""
    scanner = np.linalg.inv(pair.after.template_from_scanner)
    if before_from_after is not None:
        scanner = before_from_after @ scanner
    return resample(np.asarray(values, np.float32), Grid(values.shape, scan.affine), pair.after.grid, scanner)


def _apart(pair: Pair, one, other) -> float:
    """Mean distance in mm between where two maps lay the voxels of the later scan's brain."""
    brain = transform_points(pair.after.grid.affine, np.argwhere(pair.after.mask))
    scanner = transform_points(np.linalg.inv(pair.after.template_from_scanner), brain)
    apart = transform_points(one, scanner) - transform_points(other, scanner)
    return float(np.linalg.norm(apart, axis=1).mean())


def means(rows: list[dict]) -> dict:
    """Of all patients and of each subtype, and what share of the ceiling is reached."""
    table = pd.DataFrame(rows)
    found = {}
    for name, part in [("all", table), *table.groupby("subtype")]:
        mean = part.mean(numeric_only=True)
        ratio = {"share of the ceiling": mean["observed"] / mean["shaded"],
                 "share of the nominal": mean["observed"] / mean["nominal"]}  # fmt: skip
        found[str(name)] = {key: round(float(value), 4) for key, value in {**mean, **ratio}.items()}
    return found


def _coarse_template(simulation: Simulation, work: Path, spacing_mm: float) -> str | None:
    """The base's brain as a template, for quick trials; None is the pipeline's own."""
    if not spacing_mm:
        return None
    base = simulation.base
    fine = base.grid
    shape = tuple(int(extent / spacing_mm) for extent in fine.shape)
    coarse = Grid.upright(shape, spacing_mm, fine.center_mm)
    work.mkdir(parents=True, exist_ok=True)
    path = work / "template.nii.gz"
    write_volume(path, resample(np.where(base.brain, base.image, 0).astype(np.float32), fine, coarse), coarse.affine)
    return str(path)


def as_table(result: dict) -> str:
    """The means in columns."""
    return pd.DataFrame(result["means"]).to_string(float_format="{:.3f}".format)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--healthy", type=int, default=6)
    parser.add_argument("--base", default="robex", help="robex for whole heads, or mni152 with --strip none")
    parser.add_argument("--strip", default="", help="skull stripper [default: the pipeline's]")
    parser.add_argument("--spacing-mm", type=float, default=2.6, choices=sorted(SHAPES))
    parser.add_argument("--raw-spacing-mm", type=float, default=1.6)
    parser.add_argument("--template-mm", type=float, default=0.0, help="the base itself as a coarse template")
    parser.add_argument("--work", type=Path, default=None, help="folder to keep the scans in [default: none]")
    parser.add_argument("--trial", action="store_true", help="print only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
