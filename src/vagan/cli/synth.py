"""`vagan synth`."""

from pathlib import Path
from typing import Literal

from vagan.cli.options import parse_size


def synth(
    out: Path,
    *,
    images: int = 10_000,
    size: str = "112x112",
    seed: int = 0,
    intensity: Literal["per-image", "fixed"] = "per-image",
    pattern: Literal["squares", "discs", "sites"] = "squares",
    amplitude: float = 100.0,
    ageing: float = 0.0,
) -> None:
    """Generate the paper's synthetic cohort: smooth noise, with two bright squares in the class of interest.

    Parameters
    ----------
    out
        Cohort folder to write.
    images
        Number of images in all, half of each class.
    size
        HEIGHTxWIDTH, or three numbers for volumes.
    seed
        Random seed; the same options give identical data.
    intensity
        Rescale each image by its own range (as in the paper), or all by one fixed range.
    pattern
        What the class adds: two squares (as in the paper), two discs, or squares at three sites, each present with
        probability 1/2.
    amplitude
        Intensity that it adds; the noise has a standard deviation of 50, the paper's squares have 100.
    ageing
        Intensity that ten years of age add to a ring; the class of interest is eight years older on average. Ages are
        in the manifest: condition on them with --set training.covariates=age, or the ring shows in the maps.
    """
    from vagan.data.sources.synthetic import make_synthetic_cohort

    shape = parse_size(size)
    cohort = make_synthetic_cohort(
        out, n=images, size=shape, seed=seed, intensity=intensity, pattern=pattern, amplitude=amplitude, ageing=ageing
    )
    print(f"{len(cohort.manifest)} images in {out}")
