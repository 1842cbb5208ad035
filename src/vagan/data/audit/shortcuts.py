"""Shortcuts: what separates the classes of a cohort without being an effect of the class.

Each *probe* reduces an image to some dozen numbers in which little can be seen but one confounder. If a linear
classifier separates the classes by them, better than with shuffled labels, a map will show the confounder too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.errors import CohortError
from vagan.progress import track
from vagan.seeding import numpy_generator

ImageArrays = NDArray[np.float32]
Features = NDArray[np.float64]

MAX_IMAGES = 500  #: Of each class, drawn at random from the training images.
MIN_IMAGES = 20
FOLDS = 5
SHUFFLES = 499
RIDGE = 0.05  #: Shrinkage of the linear classifier's weights, as a part of the number of images.
CHANCE = 0.05  #: Probability of any false alarm in a cohort, over all probes.
LARGE = 0.6  #: Area under the ROC curve from which on a difference matters.

BLOCK = 100
MASK_IMAGES = 100
BACKGROUND_BELOW = -0.98  #: Darker pixels are background: intensities are in [-1, 1].
MIN_OUTSIDE = 0.01  #: Smallest part of an image that is looked at as its background.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BANDS = 8
COARSE = {2: 8, 3: 4}


@dataclass(frozen=True)
class Probe:
    """What a confounder may be seen in."""

    name: str
    features: Callable[[ImageArrays], Features]  #: From ``(image, channel, *space)`` to ``(image, feature)``.
    remedy: str  #: What it may be if the classes differ there, and what to do.
    may_be_the_class: bool = False
    """Whether what the class does can be seen there as well, so that a difference need not be a confounder."""


@dataclass(frozen=True)
class Finding:
    """How well a probe separates a class of interest from the baseline class."""

    probe: Probe
    interest: str
    auc: float  #: Area under the ROC curve of a linear classifier, cross-validated by subject; 0.5 is chance.
    chance: float  #: What 95 % of classifiers of shuffled labels stay below.
    p_value: float  #: Share of those that are as good, corrected for the number of probes (Bonferroni).

    @property
    def is_found(self) -> bool:
        """Whether it separates the classes, well enough to matter and better than chance."""
        return self.auc > LARGE and self.p_value <= CHANCE


def find_confounders(cohort: Cohort, *, seed: int = 0) -> list[Finding]:
    """Screen the training images for confounders, by all probes.

    Returns one finding for each probe and class of interest. ``seed`` decides which images, folds and shuffles.
    Raises `CohortError` if a class has fewer than `MIN_IMAGES` training images.
    """
    findings: list[Finding] = []
    for label, interest in enumerate(cohort.manifest.classes[1:], start=1):
        rows = np.concatenate([_drawn(cohort, kind, seed) for kind in (0, label)])
        table = cohort.manifest.table.iloc[rows]
        labels, subjects = (table["label"] != 0).to_numpy().astype(np.int64), table["subject"].to_numpy()
        seen = _image_features(cohort, rows)
        for probe, features in seen:
            scores = _separability(features, labels, subjects, tests=len(seen), seed=seed)
            findings.append(Finding(probe, interest, *scores))
    return findings


def confounder_table(findings: Sequence[Finding], baseline: str) -> list[str]:
    """Lines of a table, and a warning for each confounder that was found."""
    rows, warnings = [], []
    for one in findings:
        mark, kind = ("?", "perhaps") if one.probe.may_be_the_class else ("!", "warning")
        rows.append((one.probe.name, one.interest, one.auc, f"up to {one.chance:.2f}", mark if one.is_found else ""))
        if one.is_found:
            warnings.append(
                f"{kind}: {one.probe.name} alone separates {one.interest} from {baseline} (AUC {one.auc:.2f}), which "
                f"maps will show too: {one.probe.remedy}"
            )
    table = pd.DataFrame(rows, columns=["probe", f"against {baseline}", "AUC", "by chance", ""])
    legend = "!: the classes can be told apart by it; ?: so they can, but it may be what the class looks like"
    shown = table.to_string(index=False, float_format="%.2f").splitlines()
    return [*shown, *([legend] if warnings else []), *warnings]


def corners(images: ImageArrays) -> Features:
    """Mean, spread and extremes of a patch in each corner, an eighth of each extent."""
    sides = [max(2, extent // 8) for extent in images.shape[2:]]
    places = np.ndindex(*(2,) * len(sides))
    cuts = [[slice(-side, None) if far else slice(side) for far, side in zip(p, sides, strict=True)] for p in places]
    return np.concatenate([_moments(images[:, :, *cut]) for cut in cuts], axis=1)


def border(images: ImageArrays) -> Features:
    """Mean, spread and extremes of the outermost pixels along each side, a sixteenth of the extent."""
    parts = []
    for axis, extent in enumerate(images.shape[2:], start=2):
        depth = max(1, extent // 16)
        parts += [images.take(np.arange(depth), axis), images.take(np.arange(extent - depth, extent), axis)]
    return np.concatenate([_moments(part) for part in parts], axis=1)


def brightness(images: ImageArrays) -> Features:
    """Quantiles, mean and spread over the whole image."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.concatenate([np.quantile(flat, QUANTILES, axis=1).T, _moments(images)], axis=1)


def frequencies(images: ImageArrays) -> Features:
    """Logarithm of the power in rings of equal frequency, and along each axis alone, where stripes are."""
    grey = images.mean(axis=1, dtype=np.float64)
    axes = tuple(range(1, grey.ndim))
    power = np.abs(np.fft.fftn(grey - grey.mean(axis=axes, keepdims=True), axes=axes)) ** 2
    steps = [np.abs(np.fft.fftfreq(extent)) for extent in grey.shape[1:]]
    radius = np.sqrt(sum(step**2 for step in np.meshgrid(*steps, indexing="ij")))
    ring = np.minimum((radius / 0.5 * BANDS).astype(int), BANDS - 1)
    found = [power[:, (ring == band) & (radius > 0)].sum(axis=1) for band in range(BANDS)]
    for axis, step in enumerate(steps, start=1):
        along = np.moveaxis(power, axis, 1)
        line = along.reshape(*along.shape[:2], -1)[..., 0]  # no frequency along any other axis
        band = np.minimum((step / 0.5 * BANDS).astype(int), BANDS - 1)
        found += [line[:, (band == one) & (step > 0)].sum(axis=1) for one in range(BANDS)]
    return np.log(np.stack(found, axis=1) + 1e-6)


def coarse(images: ImageArrays) -> Features:
    """The image with a handful of pixels along each axis."""
    grey = images.mean(axis=1)
    for axis in range(1, grey.ndim):
        parts = np.array_split(grey, min(COARSE[images.ndim - 2], grey.shape[axis]), axis=axis)
        grey = np.stack([part.mean(axis=axis) for part in parts], axis=axis)
    return grey.reshape(len(grey), -1).astype(np.float64)


def _moments(images: ImageArrays) -> Features:
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.stack([flat.mean(axis=1), flat.std(axis=1), flat.min(axis=1), flat.max(axis=1)], axis=1)


SHAPE = "if the classes differ in shape or size it may be the class"
FRAMES = "look for frames, padding, another range of intensities or stripes, and crop or scale alike"
DEVICES = "another device, exposure or scaling, unless the class is brighter or darker itself"
PROBES = (
    Probe("corners", corners, f"look for tags, text or markers there, and crop or mask them in all images; {SHAPE}"),
    Probe("border", border, f"{FRAMES}; {SHAPE}"),
    Probe("brightness", brightness, DEVICES, True),
    Probe("frequencies", frequencies, "blur, noise, stripes or resampling, unless the class adds structure", True),
    Probe("coarse image", coarse, "position, shading or field of view, unless the class acts so broadly", True),
)


def _drawn(cohort: Cohort, label: int, seed: int) -> NDArray[np.int64]:
    found = cohort.manifest.indices("train", label)
    if len(found) < MIN_IMAGES:
        raise CohortError(
            f"at least {MIN_IMAGES} training images of each class are required to screen for confounders: "
            f"{cohort.manifest.classes[label]!r} has {len(found)} in {cohort.path}"
        )
    return numpy_generator(seed, "images to audit", label).permutation(found)[:MAX_IMAGES]


def _image_features(cohort: Cohort, rows: NDArray[np.int64]) -> list[tuple[Probe, Features]]:
    """What each probe sees of the images, which are read once."""
    probes = list(PROBES)
    mask = _outside_mask(cohort.images(rows[:: -(-len(rows) // MASK_IMAGES)]).numpy())
    if mask.mean() > MIN_OUTSIDE:
        remedy = "look for noise, tags, shadows or remains of the skull in the background, and mask it in all images"
        probes.insert(2, Probe("outside", lambda images: _moments(images[:, :, mask]), f"{remedy}; {SHAPE}"))
    found: list[list[Features]] = [[] for _ in probes]
    for start in track(range(0, len(rows), BLOCK), -(-len(rows) // BLOCK), "looking for confounders"):
        images = cohort.images(rows[start : start + BLOCK]).numpy()
        for probe, parts in zip(probes, found, strict=True):
            parts.append(probe.features(images))
    return [(probe, np.concatenate(parts)) for probe, parts in zip(probes, found, strict=True)]


def _outside_mask(images: ImageArrays) -> NDArray[np.bool_]:
    """Background well away from what most images show, where one class alone may have something."""
    from scipy.ndimage import distance_transform_edt

    shown = (images.max(axis=1) > BACKGROUND_BELOW).mean(axis=0) > 0.6
    if not shown.any():
        return ~shown
    return np.asarray(distance_transform_edt(~shown) > max(2, min(shown.shape) / 16))


def _separability(
    features: Features, labels: NDArray[np.int64], subjects: NDArray[np.object_], *, tests: int, seed: int
) -> tuple[float, float, float]:
    """AUC, what chance reaches, and the corrected p-value; see `Finding`."""
    from scipy.stats import rankdata

    of_image = np.unique(subjects.astype(str), return_inverse=True)[1]
    rng = numpy_generator(seed, "audit")
    folds = _folds(labels, of_image, rng)
    targets = np.stack([labels, *(_shuffled(labels, of_image, rng) for _ in range(SHUFFLES))], axis=1)
    ranks, positive = rankdata(_out_of_fold(features, targets, folds), axis=0), targets.sum(axis=0)
    above = (ranks * targets).sum(axis=0) - positive * (positive + 1) / 2
    areas = above / (positive * (len(targets) - positive))  # of all columns; scikit-learn's takes one at a time
    auc, by_chance = areas[0], areas[1:]
    p_value = min(1.0, tests * (1 + (by_chance >= auc).sum()) / (1 + SHUFFLES))
    return float(auc), float(np.quantile(by_chance, 0.95)), float(p_value)


def _folds(labels: NDArray[np.int64], of_image: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of each image: whole subjects, each class spread over all folds."""
    order = rng.permutation(of_image.max() + 1)
    share = np.bincount(of_image, labels) / np.bincount(of_image)
    by_class = order[np.argsort(share[order], kind="stable")]
    fold_of = np.empty(len(order), np.int64)
    fold_of[by_class] = np.arange(len(order)) % FOLDS
    return fold_of[of_image]


def _shuffled(labels: NDArray[np.int64], of_image: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels given to other subjects; to other images where subjects have images of both classes."""
    first = np.unique(of_image, return_index=True)[1]
    if (labels != labels[first][of_image]).any():
        return rng.permutation(labels)
    return rng.permutation(labels[first])[of_image]


def _out_of_fold(features: Features, targets: NDArray[np.int64], folds: NDArray[np.int64]) -> Features:
    """Ridge regression's predictions of images that it was not fitted on, ``(image, target)``.

    Predictions are linear in the targets, so that all shuffles cost one product of matrices.
    """
    from sklearn.linear_model import Ridge

    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    predictions = np.zeros(targets.shape)
    for fold in np.unique(folds):
        inside = folds != fold
        ridge = Ridge(alpha=RIDGE * inside.sum()).fit(scaled[inside], targets[inside])
        # standardised, so that the folds' predictions can be ranked together
        middle, fitted = targets[inside].mean(axis=0), ridge.predict(scaled[inside])
        predictions[~inside] = (ridge.predict(scaled[~inside]) - middle) / np.maximum(fitted.std(axis=0), 1e-12)
    return predictions
