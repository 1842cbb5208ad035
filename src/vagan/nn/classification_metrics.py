"""Accuracy and calibration of classifiers."""

import numpy as np
from numpy.typing import NDArray

BINS = 10


def binary_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """`multiclass_metrics` of two classes, from the probabilities (n,) of the class whose label is 1."""
    return multiclass_metrics(np.stack([1 - probabilities, probabilities], axis=-1), labels)


def multiclass_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Figures of a classifier, from probabilities (n, classes) and labels (n,) from 0, which all occur.

    Returns ``accuracy``, ``balanced_accuracy`` (mean over the classes), ``auc`` (area under the ROC curve; of more
    than two classes the mean of each against the rest) and ``calibration_error`` (expected calibration error in ten
    bins, Guo et al., ICML 2017).
    """
    from sklearn.metrics import roc_auc_score

    classes = range(probabilities.shape[-1])
    right = probabilities.argmax(axis=-1) == labels
    confidence = probabilities.max(axis=-1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((right - confidence)[bins == one].sum()) for one in np.unique(bins)]
    scored = classes[1:] if len(classes) == 2 else classes
    areas = [roc_auc_score(labels == label, probabilities[:, label]) for label in scored]
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == label].mean() for label in classes])),
        "auc": float(np.mean(areas)),
        "calibration_error": float(sum(gaps)) / len(labels),
    }
