"""Effect maps of image files, on each file's own grid."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vagan.attribution.registry import LoadedMethod, load_ensemble, load_method
from vagan.data.image_file import ImageFile, name_of, read_image
from vagan.errors import ConfigError, ModelError, OutputError
from vagan.files import replacing
from vagan.inference.certainty_files import certainty_arrays, describe_certainty
from vagan.inference.class_gate import AUTO, SURE, parse_band
from vagan.inference.decision_files import describe_decision
from vagan.inference.deformation_files import deforming, write_deformation
from vagan.inference.intervention import parse_change
from vagan.inference.knowing import contrasting, knowing
from vagan.inference.lesions import threshold_of, write_mask
from vagan.inference.ood_files import describe_likeness
from vagan.inference.overlay import save_overlay
from vagan.inference.sidecar import describe
from vagan.inference.subjects import subjects_of
from vagan.inference.written import Written
from vagan.model.folder import ModelSpec
from vagan.progress import track
from vagan.training.engine.device import find_device


class Writer(NamedTuple):
    """``check`` raises an error for a file that cannot be attributed; ``write`` takes method, file and folder."""

    check: Callable[[Path, ModelSpec], None]
    write: Callable[[LoadedMethod, Path, Path], Written]


def attribute_files(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    method: str = "",
    interest: str = "",
    into: bool = False,
    abstain: str = "",
    others: Sequence[Path] = (),
    covariates: str = "",
    contrast: str = "",
    masks: Path | None = None,
    device: str = "auto",
) -> list[Path]:
    """Write for each image ``_effect.npy`` (NIfTI: ``.nii.gz``), ``_overlay.png`` and ``_effect.json``.

    A generator that deforms adds ``_displacement`` and ``_log-jacobian``; see `vagan.inference.deformation_files`.
    Several runs together add ``_spread`` and ``_sign-agreement``; see `vagan.inference.certainty_files`.

    A model of scans has the record of their preprocessing: a raw scan goes through the same, and its map comes in the
    template's space too (``_space-template_effect.nii.gz``). Scans that are prepared already are taken as they are.

    Parameters
    ----------
    run
        Run folder or model folder.
    paths
        Image files. They are prepared as the training images were: the recorded colour, size and intensity.
    out
        Folder for the maps; files of the same names are replaced.
    method
        Name of an attribution method; needed where the model is a classifier.
    interest
        Class of interest; needed where the model knows several. ``auto``: a classifier in the run folder decides.
    into
        What the class would do to images of the baseline class, of a run that learnt both directions.
    abstain
        Where it decides nothing, such as ``0.35:0.65``; see `vagan.inference.class_gate.decide`.
    others
        More runs: the map is the mean of all.
    covariates
        What is known of the images, see `vagan.inference.subjects`; needed where the model was trained with it.
    contrast
        Instead of the class's effect that of a change of covariates, such as ``age=60:80``; see `Contrast`.
    masks
        Results folder, by whose threshold masks and boxes are written too; see ``vagan.inference.lesions``.
    device
        See `vagan.training.engine.device.find_device`.

    Returns
    -------
    list of Path
        The maps, in the order of the images.
    """
    if not paths:
        raise OutputError("no image was given; name at least one image file")
    stems = [name_of(path) for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise OutputError(f"each map is named after its image, but {twice!r} was given twice; use one --out for each")
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out must be a folder: {out} is a file; choose another name")
    place = find_device(device)
    runs = [run, *others]
    if abstain and interest != AUTO:
        raise ConfigError("--abstain goes with --class auto, where a classifier decides")
    if into and (others or contrast or interest == AUTO):
        raise ConfigError("--into must go without --ensemble, --contrast and --class auto; leave them out")
    if masks and (into or contrast):
        raise ConfigError("--masks has a threshold for what is taken out only; leave out --into and --contrast")
    if others and interest == AUTO:
        raise ConfigError("an ensemble needs the class said: its members' classifiers may decide differently")
    loaded = (
        load_ensemble(runs, method, interest=interest, device=place)
        if others
        else load_method(
            run, method, interest=interest, into=into, band=parse_band(abstain) if abstain else SURE, device=place
        )
    )
    if contrast:
        loaded = loaded._replace(method=contrasting(loaded.method, parse_change(contrast)))
    threshold = None if masks is None else threshold_of(masks, loaded.method.name)
    check, write = writer_for(loaded.facts)
    subjects = subjects_of(paths, covariates, loaded.facts.covariates)
    for path in paths:  # every mistake is found before anything is written; images are not kept, there may be many
        check(path, loaded.facts)
    written = []
    for path, subject in track(zip(paths, subjects, strict=True), len(paths), "attributing"):
        told = loaded._replace(method=knowing(loaded.method, subject))
        written.append(write(told, path, out).path)
        if threshold is not None:
            write_mask(written[-1], threshold)
    return written


def writer_for(facts: ModelSpec) -> Writer:
    """How the model's kind of images is checked and attributed: pictures and volumes, or scans of heads."""
    if facts.pipeline is None:
        return Writer(_check, _write)
    from vagan.inference.scans import check_scan, write_scan_maps  # needs an extra

    return Writer(check_scan, write_scan_maps)


def _check(path: Path, facts: ModelSpec) -> None:
    _read(path, facts)


def _read(path: Path, facts: ModelSpec) -> ImageFile:
    file = read_image(path, facts.preparation.colour)
    channels, dims = len(file.array), file.array.ndim - 1
    if (channels, dims) != (facts.channels, facts.num_spatial_dims):
        raise ModelError(
            f"{path} is a {dims}-D image of {channels} channel(s); the model was trained on "
            f"{facts.num_spatial_dims}-D images of {facts.channels}"
        )
    return file


def _write(loaded: LoadedMethod, path: Path, out: Path) -> Written:
    method, facts = loaded.method, loaded.facts
    file = _read(path, facts)
    prepared = torch.from_numpy(facts.preparation.apply(file.array))[None]
    effect = method.attribute(prepared.to(loaded.device))[0].cpu().numpy()
    own_grid = facts.preparation.map_to_source(effect, file.array.shape[1:])
    path = file.write_map(out, f"{file.stem}_effect", own_grid)
    low, high = facts.preparation.range_of(file.array)
    shown = ((file.array - low) * (2 / (high - low)) - 1).clip(-1, 1)
    save_overlay(out / f"{file.stem}_overlay.png", shown, own_grid)
    deformation = write_deformation(deforming(method), prepared.to(loaded.device), file, out)
    certainty = certainty_arrays(method, prepared.to(loaded.device))
    for kind, values in certainty.items():
        file.write_map(out, f"{file.stem}_{kind}", facts.preparation.map_to_source(values, file.array.shape[1:]))
    about = {
        **describe(loaded, file.path, own_grid, scale=(high - low) / 2),
        **describe_decision(method, prepared.to(loaded.device), facts.classes),
        **describe_likeness(method, prepared.to(loaded.device)),
        **deformation,
        **describe_certainty(method, certainty),
        "preparation": facts.preparation.model_dump(mode="json"),
    }
    with replacing(out / f"{file.stem}_effect.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Written(path, shown, own_grid, None if file.volume is None else file.volume.affine)
