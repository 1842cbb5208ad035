"""`vagan attribute`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vagan.cli.options import parse_interval
from vagan.errors import ConfigError


def attribute(
    run: Path,
    *images: Path,
    out: Path,
    method: str = "",
    class_of_interest: Annotated[str, Parameter(name="--class")] = "",
    predict_class: Annotated[bool, Parameter(negative=())] = False,
    expected: Annotated[bool, Parameter(negative=())] = False,
    reject_interval: str = "",
    insert: Annotated[bool, Parameter(negative=())] = False,
    ensemble: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    covariates: str = "",
    masks: Path | None = None,
    device: str = "auto",
) -> None:
    """Compute effect maps of new images.

    For each image: the map at the image's size (.npy; NIfTI for NIfTI files), an overlay (.png), a sidecar (.json).

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder. A classifier needs a --method.
    images
        Image files, or folders of images. For a model of preprocessed brain scans, raw scans go through the same
        preprocessing, and their maps are written on their own grid and in template space.
    out
        Folder for the maps.
    method
        For a classifier: guided-backprop, integrated-gradients, grad-cam, occlusion, additive-perturbation,
        additive-perturbation-1500-steps, gradient-magnitude, random-map; for a CAM classifier cam as well.
    class_of_interest
        Name of the class of interest; needed where the run has several.
    predict_class
        A classifier in the run folder (see `vagan train --with-classifier`) predicts the class of each image. The map
        of an image of the baseline class is then zero; the description holds the prediction and its probabilities.
    expected
        The expected effect where the class is uncertain: the map is that of the most probable class of interest,
        multiplied by its probability as the same classifier gives it. Nothing is decided.
    reject_interval
        With --predict-class: abstain between these probabilities of a class of interest [default: 0.35:0.65]. The map
        is then that of the most probable one.
    insert
        Images are of the baseline class: what the class of interest would do to them. For a run trained with
        --preset bidirectional. The map is then the image with the class minus the image.
    ensemble
        More runs of the same cohort, with other seeds. The map is then the mean of all; their standard deviation
        (_std) and agreement on the sign (_sign-agreement) are written beside it.
    covariates
        For a run trained with training.covariates: age=70,sex=F for all images, or a CSV table with these columns and
        a row for each image, found by its column image or id, such as a manifest.
    masks
        Results folder of `vagan evaluate` on this run. Writes a mask (_mask) and a table of lesions (_lesions.csv) by
        the threshold that was found there without ground truth.
    device
        auto, cpu, cuda or mps.
    """
    from vagan.data.table import read_table
    from vagan.evaluation.results import ResultsFolder
    from vagan.inference.attributor import Attributor
    from vagan.inference.covariates import parse_covariates, rows_of
    from vagan.inference.files import list_images

    if masks and insert:
        raise ConfigError("`masks` excludes `insert`: its threshold is of removed classes")
    attributor = Attributor.load(
        [run, *(ensemble or ())],
        method,
        class_of_interest=class_of_interest,
        insert=insert,
        predict_class=predict_class,
        expected=expected,
        reject_interval=parse_interval(reject_interval),
        device=device,
    )
    files = list_images(images, attributor.spec)
    is_table = covariates != "" and "=" not in covariates
    given = rows_of(files, read_table(Path(covariates))) if is_table else parse_covariates(covariates) or None
    threshold = None if masks is None else ResultsFolder(masks).threshold(attributor.name)
    saved = attributor.attribute_files(files, out, covariates=given, threshold=threshold)
    for one in saved:
        if one.is_ood:
            print(f"warning: {one.source} is out of distribution: beyond 99 % of the training's validation images")
        for text in one.extrapolations:
            print(f"warning: {one.source}: {text}")
    names = [one.decision for one in saved if one.decision]
    counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    print(f"{len(saved)} map{'s' if len(saved) != 1 else ''} in {out}{counts and f': {counts}'}")
