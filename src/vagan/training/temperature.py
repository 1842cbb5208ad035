"""Temperature scaling: calibration of a classifier's probabilities (Guo et al. 2017)."""

import numpy as np
from jaxtyping import Float, Int

BOUNDS = (0.05, 20.0)


def fitted_temperature(logits: Float[np.ndarray, "image classes"], labels: Int[np.ndarray, " image"]) -> float:
    """Temperature, 0.05 to 20, with the largest likelihood of the labels of images that were not trained on.

    Labels count as a little uncertain, by the rule of succession, as in Platt's scaling (1999): where all images are
    classified correctly the best temperature would be 0, and every probability 0 or 1.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    classes = logits.shape[-1]
    counts = np.bincount(labels, minlength=classes)[labels]
    targets = np.repeat(1 / (counts + classes), classes).reshape(-1, classes)
    targets[np.arange(len(labels)), labels] *= counts + 1

    def loss(logarithm: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(logarithm), axis=-1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(BOUNDS)), method="bounded").x))
