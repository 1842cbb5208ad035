"""Accuracy and calibration of classifiers."""

import numpy as np
from numpy.typing import NDArray

BINS = 10


def binary_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Figures of a two-class classifier.

    ``probabilities`` (n,) are those of the class of interest, whose ``labels`` (n,) are 1. Returns ``accuracy``,
    ``balanced_accuracy`` (mean of sensitivity and specificity), ``auc`` (area under the ROC curve) and
    ``calibration_error`` (expected calibration error in ten bins, Guo et al., ICML 2017).
    """
    from sklearn.metrics import roc_auc_score

    right = (probabilities > 0.5) == (labels == 1)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == label].mean() for label in (0, 1)])),
        "auc": float(roc_auc_score(labels, probabilities)),
        "calibration_error": expected_calibration_error(probabilities, labels),
    }


def multiclass_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """`binary_metrics` of any number of classes, from probabilities (n, classes) and labels from 0, which all occur.

    The area under the ROC curve is the mean of each class against the rest.
    """
    from sklearn.metrics import roc_auc_score

    classes = probabilities.shape[-1]
    if classes == 2:
        return binary_metrics(probabilities[:, 1], labels)
    right = probabilities.argmax(axis=-1) == labels
    areas = [roc_auc_score(labels == label, probabilities[:, label]) for label in range(classes)]
    bins = _reliability(probabilities.max(axis=-1), right)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == label].mean() for label in range(classes)])),
        "auc": float(np.mean(areas)),
        "calibration_error": _gap(bins, len(labels)),
    }


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean distance of confidence from accuracy over the bins, weighted by their size; 0 is best."""
    return _gap(reliability_curve(probabilities, labels), len(labels))


def reliability_curve(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """Mean ``confidence``, ``accuracy`` and ``count`` in ten equal bins of confidence, without the empty ones."""
    confidence = np.maximum(probabilities, 1 - probabilities)
    return _reliability(confidence, (probabilities > 0.5) == (labels == 1))


def _gap(bins: list[dict[str, float]], count: int) -> float:
    return sum(abs(entry["accuracy"] - entry["confidence"]) * entry["count"] for entry in bins) / count


def _reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == one].mean()),
            "accuracy": float(right[bins == one].mean()),
            "count": int((bins == one).sum()),
        }
        for one in np.unique(bins)
    ]
