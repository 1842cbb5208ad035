"""`vagan attribute`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def attribute(
    run: Path,
    *images: Path,
    out: Path,
    method: str = "",
    interest: Annotated[str, Parameter(name="--class")] = "",
    into: Annotated[bool, Parameter(negative=())] = False,
    abstain: str = "",
    ensemble: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    covariates: str = "",
    contrast: str = "",
    masks: Path | None = None,
    device: str = "auto",
) -> None:
    """Effect maps of new images: what the class of interest put there, and how bright.

    For each image: the map (.npy, or NIfTI for NIfTI) of exactly the image's size, a colour overlay (.png) and
    a description (.json).

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder. Of a map generator the maps are effects; for a
        classifier, choose a --method.
    images
        Image files of the class of interest. For a model of preprocessed brain scans: raw scans, which go through
        the same preprocessing; their maps come on their own grid and in the template's space.
    out
        Folder for the maps.
    method
        For a classifier: guided-backprop, integrated-gradients, grad-cam, occlusion, perturbation,
        perturbation-paper; for a CAM classifier cam as well.
    interest
        Name of the class of interest; needed where the run knows several. auto: a classifier in the run folder (see
        `vagan train --with-classifier`) decides for each image. The map of an image of the baseline class is then
        zero, and the description says what was decided, how probable it is, and whether that is too little.
    into
        Images are of the baseline class: what the class of interest would do to them. For a run trained with
        --preset both-directions. The map is then the image with the class less the image.
    abstain
        With --class auto: undecided between these probabilities of a class of interest [default: 0.35:0.65]. The map
        is then that of the most probable one.
    ensemble
        More runs of the same cohort, with other seeds. The map is then the mean of all; beside it stand how far they
        differ at each place (_spread) and how far they agree on the sign (_sign-agreement).
    covariates
        What is known of the images, for a run trained with training.covariates: age=70,sex=F for all, or a CSV table
        with these columns and a row for each image, found by its column image or id, such as a manifest.
    contrast
        What a covariate does instead of what the class does, such as age=60:80, for a run trained with --preset
        contrast: the image as if of the second value, less as if of the first.
    masks
        Results folder of `vagan evaluate` on this run. Writes for each map what it marks too, by the threshold that
        was found there without truth: a mask (_mask) and a table of boxes (_lesions.csv).
    device
        auto, cpu, cuda or mps.
    """
    from vagan.inference.decision_files import count_decisions
    from vagan.inference.files import attribute_files
    from vagan.inference.ood_files import unlike_images

    written = attribute_files(
        run,
        images,
        out,
        method=method,
        interest=interest,
        into=into,
        abstain=abstain,
        others=ensemble or (),
        covariates=covariates,
        contrast=contrast,
        masks=masks,
        device=device,
    )
    decided = f": {count_decisions(images, out)}" if interest == "auto" else ""
    for path in unlike_images(images, out):
        print(f"warning: {path} is unlike the images of the training, more than 99 % of those kept for validation")
    print(f"{len(written)} map{'s' if len(written) != 1 else ''} in {out}{decided}")
