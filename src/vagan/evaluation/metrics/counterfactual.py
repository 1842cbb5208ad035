"""What taking the effect out of an image does to a classifier that had no part in making the map.

It needs no known effects: the judge is asked about an image before and after its map was taken out.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from vagan.axes import class_column, class_probabilities, spatial_mean
from vagan.data.cohort import Cohort
from vagan.effect import without_effect
from vagan.errors import CohortError
from vagan.evaluation.metrics.regions import Array, Values
from vagan.nn.classifier import CAMClassifier, Classifier

BATCH = 25
REFERENCE_IMAGES = 1000

Features = Float[np.ndarray, "_ feature"]


class Opinion(NamedTuple):
    """What the judge thinks of some images: probability of the class of interest, and what it sees in them."""

    probabilities: Values
    features: Features

    def first(self, count: int) -> "Opinion":
        """Of the first images alone."""
        return Opinion(self.probabilities[:count], self.features[:count])


class Judge:
    """An independent classifier.

    Parameters
    ----------
    network
        Trained on the cohort's training images, with another seed or architecture than what is judged.
    cohort
        Its validation images of the baseline class are what images without the effect should look like.
    device
        Where the network is.

    Raises
    ------
    CohortError
        If there are fewer than two validation images of the baseline class.
    """

    def __init__(
        self, network: Classifier | CAMClassifier, cohort: Cohort, *, device: torch.device | str = "cpu"
    ) -> None:
        self._network, self._cohort, self._device = network, cohort, device
        reference = cohort.manifest.indices("validation", 0)[:REFERENCE_IMAGES]
        if len(reference) < 2:
            raise CohortError(
                f"a judge compares with validation images of the baseline class, {cohort.path} has {len(reference)}; "
                "split it again"
            )
        self._reference = self.opinion(reference).features

    def opinion(self, rows: NDArray[np.int64], maps: Array | None = None) -> Opinion:
        """Of images of the cohort as they are, or with the effects that these maps show taken out."""
        probabilities, features = [], []
        for start in range(0, len(rows), BATCH):
            images = self._cohort.images(rows[start : start + BATCH])
            if maps is not None:
                images = torch.from_numpy(without_effect(images.numpy(), maps[start : start + BATCH]))
            with torch.no_grad():
                images = images.to(self._device)
                logits = self._network(images)
                features.append(spatial_mean(self._network.features(images)).float().numpy(force=True))
            probabilities.append(class_column(class_probabilities(logits), 1).numpy(force=True))
        return Opinion(np.concatenate(probabilities).astype(np.float64), np.concatenate(features))

    def scores(self, rows: NDArray[np.int64], maps: Array, before: Opinion, after: Opinion) -> dict[str, Values]:
        """One value per case; NaN where undefined.

        ``flip_rate``: whether an image that the judge took for the class of interest is one of the baseline class
        without the effect. ``probability_drop``: by how much the class became less probable. ``relative_change``:
        Euclidean size of the map over that of the image's deviations from its mean; of maps that flip as many
        images, the smallest changed the least.
        """
        was_ill = before.probabilities > 0.5
        images = [self._cohort.images([row]).numpy() for row in rows]
        spread = np.array([float(np.linalg.norm(image - image.mean())) for image in images])
        sizes = np.array([float(np.linalg.norm(map_)) for map_ in maps])
        return {
            "flip_rate": np.where(was_ill, after.probabilities <= 0.5, np.nan),
            "probability_drop": before.probabilities - after.probabilities,
            "relative_change": np.divide(sizes, spread, out=np.full(len(maps), np.nan), where=spread > 0),
        }

    def distance(self, features: Features, subjects: NDArray[Any]) -> dict[str, Any]:
        """`kernel_distance` of images from the baseline class' validation images, as an entry of a summary."""
        return distance_entry(features, self._reference, subjects)


def kernel_distance(features: Features, reference: Features) -> float:
    """Squared maximum mean discrepancy of two samples of features, without bias.

    The kernel is the cubic one of the kernel inception distance; features are divided by the reference's root mean
    square first, so that their unit does not matter. Unlike a Fréchet distance it does not depend on how many images
    there are, and there may be fewer of them than features.

    Returns
    -------
    float
        0 on average for samples of one distribution, and then as often below.

    References
    ----------
    Bińkowski et al., Demystifying MMD GANs, ICLR 2018.
    """
    return _distance(*_kernels(features, reference))


def distance_entry(features: Features, reference: Features, subjects: NDArray[Any]) -> dict[str, Any]:
    """`kernel_distance` with an interval from leaving out each subject of the first sample in turn (jackknife)."""
    kernels = _kernels(features, reference)
    found = _distance(*kernels)
    known, of_case = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    left_out = [
        _distance(*kernels, keep=of_case != subject)
        for subject in range(len(known))
        if (of_case != subject).sum() > 1
    ]
    if len(left_out) < 3:
        return {"mean": found, "std": None, "ci95": [np.nan, np.nan], "n": len(features)}
    error = 1.96 * np.sqrt((len(left_out) - 1) * np.var(left_out))
    return {"mean": found, "std": None, "ci95": [float(found - error), float(found + error)], "n": len(features)}


def _kernels(features: Features, reference: Features) -> tuple[Values, Values, Values]:
    """Kernel of all pairs within the features, between them and the reference, and within the reference."""
    scale = np.sqrt((reference.astype(np.float64) ** 2).mean()) or 1.0
    one, other = (sample.astype(np.float64) / scale for sample in (features, reference))
    size = features.shape[-1]
    within, between, beyond = ((a @ b.T / size + 1.0) ** 3 for a, b in ((one, one), (one, other), (other, other)))
    return within, between, beyond


def _distance(within: Values, between: Values, beyond: Values, keep: NDArray[np.bool_] | None = None) -> float:
    if keep is not None:
        within, between = within[keep][:, keep], between[keep]
    if min(map(len, (within, beyond))) < 2:
        return float("nan")
    return float(_mean_of_pairs(within) + _mean_of_pairs(beyond) - 2 * between.mean())


def _mean_of_pairs(kernel: Values) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
