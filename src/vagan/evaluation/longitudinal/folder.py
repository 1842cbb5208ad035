"""Where a comparison with follow-up scans keeps what it found in its results folder."""

from pathlib import Path

TABLE2, PAIRS = "table2.md", "pairs.csv"
OBSERVED, MAPS = "observed", "maps"


def mask_path(effect: Path) -> Path:
    """Brain of both scans, beside an observed effect."""
    return effect.with_name(effect.name.replace("_stat-effect_statmap", "-brain_mask"))


def map_path(maps: Path, method: str, case: str) -> Path:
    """Where a method's map of a pair's later scan is."""
    folder = "".join(letter if letter.isalnum() else "-" for letter in method)
    return maps / folder / f"{case}_stat-effect_statmap.nii.gz"


def log_jacobian_path(maps: Path, method: str, case: str) -> Path:
    """Where a deforming method's logarithm of the volume now over the volume before is, on the same grid."""
    return map_path(maps, method, case).with_name(f"{case}_stat-logjacobian_statmap.nii.gz")
