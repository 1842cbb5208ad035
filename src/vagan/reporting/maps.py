"""Effect maps of image files, on each file's own grid."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vagan.attribution.generator import VAGAN
from vagan.data.image_file import ImageFile, read_image
from vagan.errors import ModelError, OutputError
from vagan.files import replacing
from vagan.model_folder import ModelFacts
from vagan.progress import track
from vagan.reporting.overlay import save_overlay


def attribute_files(run: Path, paths: Sequence[Path], out: Path) -> list[Path]:
    """Write for each image ``_effect.npy`` (NIfTI: ``.nii.gz``), ``_overlay.png`` and ``_effect.json``.

    Parameters
    ----------
    run
        Run folder or model folder.
    paths
        Image files. They are prepared as the training images were: the recorded colour, size and intensity.
    out
        Folder for the maps; files of the same names are replaced.

    Returns
    -------
    list of Path
        The maps, in the order of the images.
    """
    if not paths:
        raise OutputError("no image was given; name at least one image file")
    stems = [ImageFile(path, np.empty(0, np.float32)).stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise OutputError(f"each map is named after its image, but {twice!r} was given twice; use one --out for each")
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out must be a folder: {out} is a file; choose another name")
    method, facts = VAGAN.load(run)
    files = [_read(path, facts) for path in paths]  # every mistake is found before anything is written
    return [_write(method, facts, file, out) for file in track(files, len(files), "attributing")]


def _read(path: Path, facts: ModelFacts) -> ImageFile:
    file = read_image(path, facts.preparation.colour)
    channels, dims = len(file.array), file.array.ndim - 1
    if (channels, dims) != (facts.channels, facts.num_spatial_dims):
        raise ModelError(
            f"{path} is a {dims}-D image of {channels} channel(s); the model was trained on "
            f"{facts.num_spatial_dims}-D images of {facts.channels}"
        )
    return file


def _write(method: VAGAN, facts: ModelFacts, file: ImageFile, out: Path) -> Path:
    prepared = facts.preparation.apply(file.array)
    effect = method.attribute(torch.from_numpy(prepared)[None])[0].numpy()
    own_grid = facts.preparation.map_to_source(effect, file.array.shape[1:])
    path = file.write_map(out, f"{file.stem}_effect", own_grid)
    low, high = facts.preparation.range_of(file.array)
    shown = ((file.array - low) * (2 / (high - low)) - 1).clip(-1, 1)
    save_overlay(out / f"{file.stem}_overlay.png", shown, own_grid)
    with replacing(out / f"{file.stem}_effect.json") as temporary:
        temporary.write_text(json.dumps(_sidecar(facts, file, own_grid, (high - low) / 2), indent=1) + "\n")
    return path


def _sidecar(facts: ModelFacts, file: ImageFile, effect: NDArray[np.float32], scale: float) -> dict[str, Any]:
    return {
        "source": file.path.name,
        "method": VAGAN.name,
        "sign": "effect = image - image as if of the baseline class; positive: the class made it brighter",
        "unit": "intensity after scaling to [-1, 1]",
        "times_this_in_the_units_of_the_file": scale,
        "baseline_class": facts.classes[0],
        "class_of_interest": facts.classes[1],
        "shape": list(effect.shape[1:]),
        "mean_absolute_effect": float(np.abs(effect).mean()),
        "preparation": facts.preparation.model_dump(mode="json"),
        "model": {"rule": facts.rule, "cohort_hash": facts.cohort_hash},
    }
