"""Fits the out-of-distribution statistics at the end of a training."""

import math
from pathlib import Path

import numpy as np
import torch

from vagan.data.cohort import Cohort
from vagan.model.folder import load_model
from vagan.model.ood import OOD_FILE, Features, MahalanobisOOD, image_features
from vagan.nn.unet import MapGenerator
from vagan.progress import track
from vagan.seeding import numpy_generator

MAX_PIXELS = 2**26
MIN_IMAGES, MAX_IMAGES = 50, 500
PIXELS_AT_ONCE = 2**20


def fit_ood(model: Path, cohort: Cohort, device: torch.device | str) -> None:
    """Write the distribution of some training images' features beside a model; keeps an existing one."""
    if (model / OOD_FILE).is_file():
        return
    network, spec = load_model(model)
    assert isinstance(network, MapGenerator)
    network.to(device)
    labels = [cohort.manifest.classes.index(name) for name in spec.classes]
    count = min(max(MAX_PIXELS // math.prod(cohort.shape), MIN_IMAGES), MAX_IMAGES)
    rows = {
        split: [
            numpy_generator(0, f"likeness, {split}", label).permutation(cohort.manifest.indices(split, label))[:count]
            for label in labels
        ]
        for split in ("train", "validation")
    }

    def features(split: str) -> Features:
        chosen, at_once = np.concatenate(rows[split]), max(1, PIXELS_AT_ONCE // math.prod(cohort.shape))
        parts = np.array_split(chosen, -(-len(chosen) // at_once))
        seen = track(parts, len(parts), f"features of {split} images")
        return torch.cat([image_features(network, cohort.images(part).to(device)) for part in seen])

    of_class = np.repeat(np.arange(len(labels)), [len(found) for found in rows["train"]])
    MahalanobisOOD.fit(features("train"), of_class, features("validation")).save(model)
