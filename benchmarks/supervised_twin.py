"""The supervised twin: the map generator's own network, taught the true effects, by which maps are to be measured.

It sees the same training images in the same order and augmentation as the map generator, half of them of the baseline
class, and learns to leave the least error between its effects and the true ones. What it cannot tell from one image,
a training without true effects can hardly be expected to tell.
"""

from pathlib import Path
from typing import Literal

import torch
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.effect import baseline_image, effect_map
from vagan.model.folder import CONFIG, ModelSpec, build_network, save_model
from vagan.progress import track
from vagan.seeding import seeded
from vagan.training.bn_recalibration import recalibrated
from vagan.training.config import Config
from vagan.training.image_cache import ShuffledImages
from vagan.training.sampling import TrainingImages, training_rows
from vagan.training.schedule import cosine_decay

Error = Literal["squared", "absolute"]
SCALE = 1000.0
"""Of the error, which is so small that Adam's epsilon would count."""


class _Effects:
    """True effects in place of images, for the same order and augmentation."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort, self.shape = cohort, cohort.shape

    def images(self, rows: NDArray) -> torch.Tensor:
        return self._cohort.effects(rows)


def train_twin(cohort: Cohort, folder: Path, config: Config, spec: ModelSpec, *, updates: int, error: Error) -> Path:
    """Train one, unless it is there, and save it as a model folder."""
    if (folder / CONFIG).is_file():
        return folder
    cohort, config = cohort.downsampled(spec.downsampling), config.downsampled(spec.downsampling)
    images, count = TrainingImages(config, cohort), config.training.batch_size
    streams = [
        [
            ShuffledImages(source, rows, config, purpose=f"images of class {label}")
            for source in (images.cache, effects)
        ]
        for effects in [_Effects(cohort)]
        for label, rows in training_rows(cohort, images.interests, config.training).items()
    ]
    with seeded(config.training.seed, "weights"):
        network = build_network(spec, zero_init=config.generator.zero_init, downsampled=True)
    rate = config.optimizer.generator_learning_rate
    optimizer = torch.optim.Adam(
        network.train().parameters(), lr=rate, betas=(config.optimizer.generator_beta1, 0.99)
    )
    for update in track(range(updates), updates, f"training {folder.name}"):
        drawn = [[stream.draw(update * count, count).images for stream in pair] for pair in streams]
        shown, true = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        found = effect_map(shown, baseline_image(shown, network(shown), spec.output))
        difference = found - true
        loss = difference.square().mean() if error == "squared" else difference.abs().mean()
        optimizer.param_groups[0]["lr"] = rate * cosine_decay(update / updates, decay_from=0.0)
        optimizer.zero_grad(set_to_none=True)
        (SCALE * loss).backward()
        optimizer.step()
    network = recalibrated(network, images.cache.images, images.recalibration)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, network, spec.model_copy(update={"rule": f"taught the true effects, by {error} error"}))
    return folder
