"""How well a classifier tells two classes apart, and whether its probabilities mean what they say."""

import numpy as np
from numpy.typing import NDArray

BINS = 10


def accuracy_figures(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Figures of a two-class classifier.

    Parameters
    ----------
    probabilities
        Of the class of interest, shape (n,).
    labels
        1 for the class of interest, else 0, shape (n,).

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean of sensitivity and specificity), ``auc`` (area under the ROC
        curve) and ``calibration_error`` (expected calibration error in ten bins, Guo et al., ICML 2017).
    """
    from sklearn.metrics import roc_auc_score

    right = (probabilities > 0.5) == (labels == 1)
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == label].mean() for label in (0, 1)])),
        "auc": float(roc_auc_score(labels, probabilities)),
        "calibration_error": calibration_error(probabilities, labels),
    }


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean distance of confidence from accuracy over the bins, weighted by their size; 0 is best."""
    bins = reliability(probabilities, labels)
    return sum(abs(entry["accuracy"] - entry["confidence"]) * entry["count"] for entry in bins) / len(labels)


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """Mean ``confidence``, ``accuracy`` and ``count`` in ten equal bins of confidence, without the empty ones."""
    confidence = np.maximum(probabilities, 1 - probabilities)
    right = (probabilities > 0.5) == (labels == 1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == one].mean()),
            "accuracy": float(right[bins == one].mean()),
            "count": int((bins == one).sum()),
        }
        for one in np.unique(bins)
    ]
