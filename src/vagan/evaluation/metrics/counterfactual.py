"""Scores of counterfactuals that need no known effects.

An independent classifier sees the image before and after its map was subtracted; the other scores compare sizes of
maps: of the two classes, with the image's contrast, and of the counterfactual's own map.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from vagan.attribution.method import preserving
from vagan.axes import class_column, class_probabilities, spatial_mean
from vagan.constants import EMPTY_MAP_QUANTILE
from vagan.data.cohort import Cohort
from vagan.effect import without_effect
from vagan.errors import CohortError
from vagan.evaluation.metrics.agreement import mean_abs
from vagan.evaluation.metrics.base import Array, Entry, Metric, Need, Values
from vagan.evaluation.statistics import mean_entry
from vagan.nn.classifier import CAMClassifier, Classifier

BATCH = 25
REFERENCE_IMAGES = 1000

UNCHANGED = "images unchanged"
REAL_BASELINE = "real baseline images"

Features = Float[np.ndarray, "_ feature"]
Subjects = tuple[NDArray[Any], NDArray[Any]]
"""Of each image of the class of interest, and of each of the baseline class."""
References = dict[str, dict[str, Entry]]
"""Scores of real images, by what they are of and metric."""


@dataclass(frozen=True)
class ClassifierPrediction:
    """What a classifier makes of some images: probability of the class of interest, and its features."""

    probabilities: Values
    features: Features

    def __getitem__(self, images: slice) -> "ClassifierPrediction":
        return ClassifierPrediction(self.probabilities[images], self.features[images])


class IndependentClassifier:
    """A classifier that had no part in the maps: trained with another seed or architecture than their networks.

    The cohort's validation images of the baseline class are what images without the effect should look like;
    `CohortError` if there are fewer than two.
    """

    def __init__(self, network: Classifier | CAMClassifier, cohort: Cohort, *, name: str = "classifier") -> None:
        self._network, self._cohort, self.name = network, cohort, name
        self._device = next(network.parameters(), torch.empty(0)).device
        reference = cohort.manifest.indices("validation", 0)[:REFERENCE_IMAGES]
        if len(reference) < 2:
            raise CohortError(
                "an independent classifier needs validation images of the baseline class as reference: found "
                f"{len(reference)} in {cohort.path}; split it again"
            )
        self.reference = self.predict(reference).features

    def predict(self, rows: NDArray[np.int64], maps: Array | None = None) -> ClassifierPrediction:
        """Of images of the cohort as they are, or with the effects that these maps show taken out."""
        probabilities, features = [], []
        for start in range(0, len(rows), BATCH):
            images = self._cohort.images(rows[start : start + BATCH])
            if maps is not None:
                images = torch.from_numpy(without_effect(images.numpy(), maps[start : start + BATCH]))
            with preserving(self._network), torch.no_grad():
                images = images.to(self._device)
                logits = self._network(images)
                features.append(spatial_mean(self._network.features(images)).float().numpy(force=True))
            probabilities.append(class_column(class_probabilities(logits), 1).numpy(force=True))
        return ClassifierPrediction(np.concatenate(probabilities).astype(np.float64), np.concatenate(features))


def references(
    interest: ClassifierPrediction, baseline: ClassifierPrediction, reference: Features, subjects: Subjects
) -> References:
    """Scores of real test images, between which those of counterfactuals are to be read.

    ``interest`` are images of the class of interest as they are (`UNCHANGED`), ``baseline`` those of the baseline
    class (`REAL_BASELINE`), which counterfactuals should look like; ``reference`` is that of `IndependentClassifier`.
    """
    share = mean_entry((baseline.probabilities <= 0.5).astype(np.float64), groups=subjects[1])
    far, near = map(kernel_distance, (interest, baseline), (reference, reference), subjects)
    return {UNCHANGED: {"kernel_distance": far}, REAL_BASELINE: {"flip_rate": share, "kernel_distance": near}}


def flip_rate(before: ClassifierPrediction, after: ClassifierPrediction) -> Values:
    """Share of the images that an independent classifier assigns to the baseline class once the effect is removed.

    NaN for images that were not assigned to the class of interest before.
    """
    return np.where(before.probabilities > 0.5, after.probabilities <= 0.5, np.nan)


def probability_drop(before: ClassifierPrediction, after: ClassifierPrediction) -> Values:
    """Decrease of an independent classifier's probability of the class of interest once the effect is removed."""
    return before.probabilities - after.probabilities


def relative_change(maps: Array, contrasts: Values) -> Values:
    """Euclidean size of the map over the image's contrast, see `image_contrast`.

    Of maps that flip as many images, the smallest changed the least.
    """
    sizes = np.array([float(np.linalg.norm(map_)) for map_ in maps])
    return np.divide(sizes, contrasts, out=np.full(len(maps), np.nan), where=contrasts > 0)


def baseline_change(sizes: Values, contrasts: Values, subjects: NDArray[Any]) -> Entry | None:
    """Relative change of images of the baseline class, which a map should leave as they are.

    ``sizes`` are the Euclidean sizes of the baseline images' maps; for ``contrasts`` see `image_contrast`.
    """
    defined = contrasts > 0
    if not defined.any():
        return None
    return mean_entry(sizes[defined] / contrasts[defined], groups=subjects[defined])


def empty_map(maps: Array, baseline: Values) -> Values:
    """Share of images whose map is no larger than those of baseline images (95 % of them).

    ``maps`` are of images of the class of interest, ``baseline`` holds the mean ``|map|`` of each baseline image.
    """
    if not len(baseline):
        return np.full(len(maps), np.nan)
    return (mean_abs(maps) <= np.quantile(baseline, EMPTY_MAP_QUANTILE)).astype(np.float64)


def residual_effect(maps: Array, residual: Values) -> Values:
    """Size of the counterfactual's own map over that of the image's map; 0 where nothing of the class is left.

    ``residual`` is the mean ``|map|`` of each counterfactual by the same method. NaN where the image's map is zero.
    """
    sizes = mean_abs(maps)
    return np.divide(residual, sizes, out=np.full(len(maps), np.nan), where=sizes > 0)


def image_contrast(cohort: Cohort, rows: NDArray[np.int64]) -> Values:
    """Euclidean size of each image's deviations from its mean."""
    parts = [cohort.images(rows[start : start + BATCH]).flatten(1) for start in range(0, len(rows), BATCH)]
    sizes = [(part - part.mean(dim=1, keepdim=True)).norm(dim=1).double().numpy() for part in parts]
    return np.concatenate([np.empty(0), *sizes])


def kernel_distance(prediction: ClassifierPrediction, reference: Features, subjects: NDArray[Any]) -> Entry:
    """Distance of images without the effect from baseline images in an independent classifier's features.

    Best near that of other baseline images. It is the squared maximum mean discrepancy of two samples, without bias:
    0 on average for samples of one distribution. The kernel is the cubic one of the kernel inception distance;
    features are divided by the reference's root mean square first, so that their unit does not matter. Unlike a
    Fréchet distance it does not depend on how many images there are, and there may be fewer of them than features.
    Reference: Bińkowski et al., Demystifying MMD GANs, ICLR 2018. The interval comes from leaving out each subject of
    the first sample in turn (jackknife).
    """
    scale = np.sqrt((reference.astype(np.float64) ** 2).mean()) or 1.0
    one, other = (sample.astype(np.float64) / scale for sample in (prediction.features, reference))
    size = one.shape[-1]
    within, between, beyond = ((a @ b.T / size + 1.0) ** 3 for a, b in ((one, one), (one, other), (other, other)))
    found = _distance(within, between, beyond)
    of_case = np.asarray(subjects, dtype=str)
    others = [of_case != subject for subject in np.unique(of_case)]
    left_out = [_distance(within[keep][:, keep], between[keep], beyond) for keep in others if keep.sum() > 1]
    interval = [np.nan, np.nan]
    if len(left_out) >= 3:
        error = 1.96 * np.sqrt((len(left_out) - 1) * np.var(left_out))
        interval = [float(found - error), float(found + error)]
    return {"mean": found, "std": None, "ci95": interval, "n": len(one)}


def _distance(within: Values, between: Values, beyond: Values) -> float:
    """From the kernel of all pairs within a sample, between it and the other, and within the other."""
    if min(map(len, (within, beyond))) < 2:
        return float("nan")
    return float(_mean_of_pairs(within) + _mean_of_pairs(beyond) - 2 * between.mean())


def _mean_of_pairs(kernel: Values) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


PREDICTIONS: tuple[Need, ...] = ("prediction", "prediction without effect")
FEATURES: tuple[Need, ...] = ("prediction without effect", "reference features", "subjects")
OF_BASELINE: tuple[Need, ...] = ("baseline sizes", "baseline contrasts", "baseline subjects")

BY_CLASSIFIER = (
    Metric(flip_rate, "Flip rate", PREDICTIONS),
    Metric(kernel_distance, "Kernel distance", FEATURES, direction="lower", over="cohort"),
    Metric(probability_drop, "Probability drop", PREDICTIONS),
)
"""Computed for each independent classifier."""

METRICS = (
    *BY_CLASSIFIER,
    Metric(empty_map, "Empty maps", ("raw maps", "baseline mean abs"), direction="lower", best=0.0),
    Metric(residual_effect, "Residual effect", ("raw maps", "residual mean abs"), direction="lower"),
    Metric(relative_change, "Relative change", ("raw maps", "image contrasts"), direction="lower"),
    Metric(baseline_change, "Relative change, baseline images", OF_BASELINE, direction="lower", over="cohort"),
)
