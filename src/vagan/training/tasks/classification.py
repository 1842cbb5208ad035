"""Training of classifiers, for compared methods and for the class gate."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from vagan.axes import concatenate_batches
from vagan.data.cohort import Cohort
from vagan.errors import CohortError
from vagan.model.folder import ModelSpec, build_network
from vagan.nn.classification_metrics import multiclass_metrics
from vagan.seeding import seeded
from vagan.training import sampling
from vagan.training.bn_recalibration import recalibrated
from vagan.training.config import Config
from vagan.training.engine.processes import ALONE, Processes
from vagan.training.engine.state import Monitor, TrainState, ValidationExamples
from vagan.training.image_cache import ImageCache, ShuffledImages
from vagan.training.objectives import Terms
from vagan.training.schedule import cosine_decay
from vagan.training.steps import Backward, step
from vagan.types import Images

LabelledBatch = tuple[Images, Int[Tensor, " batch"]]
TEMPERATURES = (0.05, 20.0)
CROSS_ENTROPY = "classifier/cross_entropy"
RULE = "weights at the end of the schedule; no checkpoint is chosen"
RULE_OF_LABELS = f"{RULE}; temperature of the largest likelihood on validation images"


class ClassifierTask:
    """Cross-entropy on balanced batches of the baseline class and one class of interest, or all for a class gate."""

    def __init__(
        self, config: Config, cohort: Cohort, *, monitor: Monitor | None = None, processes: Processes = ALONE
    ) -> None:
        del monitor  # classifiers make no maps
        self.examples: ValidationExamples | None = None
        self._is_class_gate = config.method == "label-classifier"
        interests = sampling.interest_labels(cohort, config.training)
        if len(interests) > 1 and not self._is_class_gate:
            raise CohortError(
                f"a {config.method} needs one class of interest beside {cohort.manifest.classes[0]}, found "
                f"{', '.join(cohort.manifest.classes[1:])}; name one with training.class_of_interest"
            )
        factor = config.training.downsampling if self._is_class_gate else 1
        shape, cohort = cohort.shape, cohort.downsampled(factor)
        self._config, self._cohort = config, cohort
        self.total = config.classifier.updates
        self._share = processes.share(config.training.accumulate_grad_batches)
        settings = config.training.model_copy(update={"downsampling": factor})
        rows = sampling.training_rows(cohort, interests, settings)
        everything = np.concatenate(list(rows.values()))
        self._cache = ImageCache(cohort, everything, memory_bytes=config.training.memory_mb * 2**20)
        self._streams = [
            ShuffledImages(self._cache, found, config.downsampled(factor), purpose=f"images of class {label}")
            for label, found in rows.items()
        ]
        self._validation = sampling.validation_rows(cohort, interests, config.training)
        count = config.classifier.bn_recalibration_images
        self._recalibration = sampling.recalibration_rows(rows, count, seed=config.training.seed)
        self._spec = ModelSpec(
            kind=config.method,
            num_spatial_dims=len(cohort.shape),
            channels=cohort.channels,
            shape=shape,
            spacing_mm=cohort.metadata.spacing_mm,
            width=config.classifier.width,
            downsampling=factor,
            classes=tuple(cohort.manifest.classes[label] for label in (0, *interests)),
            preparation=cohort.metadata.preparation,
            pipeline=cohort.metadata.pipeline,
            rule=RULE_OF_LABELS if self._is_class_gate else RULE,
            cohort_hash=cohort.metadata.content_hash,
        )

    def build(self) -> TrainState:
        """Classifier and its Adam."""
        settings = self._config.classifier
        with seeded(self._config.training.seed, "classifier weights"):
            network = build_network(self._spec, downsampled=True)
        betas = (settings.beta1, settings.beta2)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=betas, fused=True)
        return TrainState({"classifier": network}, {"classifier": optimizer})

    def plan(self, state: TrainState, means: Mapping[str, float]) -> None:
        """Nothing: the length of the run is fixed."""

    def check(self, state: TrainState, device: torch.device, *, half: bool) -> None:
        """Classifiers are small."""

    def finish(self, model: Path, device: torch.device) -> None:
        """Nothing is measured afterwards."""

    def load(self, update: int) -> list[LabelledBatch]:
        """Balanced batches of images of all classes: this process's share of ``accumulate``."""
        count = self._config.training.batch_size
        batches = []
        for part in self._share:
            start = (update * self._config.training.accumulate_grad_batches + part) * count
            images = [stream.draw(start, count).images for stream in self._streams]
            batches.append((concatenate_batches(*images), torch.arange(len(images)).repeat_interleave(count)))
        return batches

    def update(self, state: TrainState, batches: list[LabelledBatch], backward: Backward) -> Terms:
        """One step down the cross-entropy."""
        network, optimizer = state.networks["classifier"].train(), state.optimizers["classifier"]

        def terms_of(batch: LabelledBatch) -> Terms:
            images, labels = batch
            return {CROSS_ENTROPY: nn.functional.cross_entropy(network(images), labels)}

        return step(optimizer, batches, terms_of, {CROSS_ENTROPY: 1.0}, backward)

    def lr_factor(self, optimizer: str, update: int) -> float:  # noqa: ARG002
        """Constant, or falling from ``optimizer.decay_from`` on."""
        return cosine_decay(update / self.total, decay_from=self._config.optimizer.decay_from)

    def should_log(self, updates: int) -> bool:
        """After every fifth update, and at the end."""
        return updates % 5 == 0 or updates == self.total

    def should_validate(self, updates: int) -> bool:
        """Ten times in a run."""
        return updates % max(5, self.total // 50 * 5) == 0 or updates == self.total

    def validate(self, state: TrainState) -> dict[str, float]:
        """Accuracy, balanced accuracy, AUC and calibration error on validation images."""
        network, spec = self.model(state)
        logits, labels = self._validation_logits(network)
        probabilities = (logits / spec.temperature).softmax(dim=-1).numpy().astype(np.float64)
        return {f"validation/{name}": value for name, value in multiclass_metrics(probabilities, labels).items()}

    def model(self, state: TrainState) -> tuple[nn.Module, ModelSpec]:
        """The classifier, with batch norm's statistics measured for its own weights; for labels, its temperature."""
        network = recalibrated(state.networks["classifier"], self._cache.images, self._recalibration)
        if not self._is_class_gate:
            return network, self._spec
        logits, labels = self._validation_logits(network)
        temperature = fitted_temperature(logits.numpy().astype(np.float64), labels)
        return network, self._spec.model_copy(update={"temperature": temperature})

    def _validation_logits(self, network: nn.Module) -> tuple[Tensor, NDArray[np.int64]]:
        rows = np.concatenate(list(self._validation.values()))
        labels = np.repeat(np.arange(len(self._validation)), [len(found) for found in self._validation.values()])
        with torch.no_grad():
            parts = self._cohort.images(rows).to(next(network.parameters()).device).split(sampling.VALIDATION_BATCH)
            return torch.cat([network(part).float() for part in parts]).cpu(), labels


def fitted_temperature(logits: Float[np.ndarray, "image classes"], labels: Int[np.ndarray, " image"]) -> float:
    """Temperature, 0.05 to 20, with the largest likelihood of the labels of images that were not trained on.

    Logits divided by it give calibrated probabilities (temperature scaling, Guo et al. 2017). Labels count as a
    little uncertain, by the rule of succession, as in Platt's scaling (1999): where all images are classified
    correctly the best temperature would be 0, and every probability 0 or 1.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    classes = logits.shape[-1]
    counts = np.bincount(labels, minlength=classes)[labels]
    targets = np.repeat(1 / (counts + classes), classes).reshape(-1, classes)
    targets[np.arange(len(labels)), labels] *= counts + 1

    def loss(logarithm: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(logarithm), axis=-1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded").x))
