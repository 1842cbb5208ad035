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
    """Write the paper's synthetic cohort: smooth noise, and two bright squares in the class of interest.

    Parameters
    ----------
    out
        Cohort folder to write.
    images
        Number of images in all, half of each class.
    size
        HEIGHTxWIDTH, or three numbers for volumes.
    seed
        Same options, same bits.
    intensity
        Scale each image by its own range (the paper), or all by one.
    pattern
        What the class adds: two squares (the paper), two discs, or squares at three sites, each there half of the
        time.
    amplitude
        How much it adds; the noise has a standard deviation of 50, and the paper's squares 100.
    ageing
        How much brighter a ring is for ten years of age more; the class of interest is older by eight years. The ages
        are in the manifest: train with --set training.covariates=age, or see the ring in the maps.
    """
    from vagan.data.sources.synthetic import make_synthetic_cohort

    cohort = make_synthetic_cohort(
        out,
        n=images,
        size=parse_size(size),
        seed=seed,
        intensity=intensity,
        pattern=pattern,
        amplitude=amplitude,
        ageing=ageing,
    )
    print(f"{len(cohort.manifest)} images in {out}")
