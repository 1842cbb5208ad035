"""The images of a training of VA-GAN: unpaired batches, and what the networks are told of each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.axes import batch_mean
from vagan.data.bank import ImageBank, ImagesInTurn
from vagan.data.cohort import Cohort
from vagan.nn.conditions import Condition
from vagan.seeding import numpy_generator
from vagan.training.calibration import calibrated, calibration_rows
from vagan.training.config import Config
from vagan.training.rows import augmented, interest_labels, training_rows, validation_rows
from vagan.training.steps import TwoClassBatch
from vagan.types import Images

BATCH = 50
MEAN_OF = 64

Network = TypeVar("Network", bound=nn.Module)


class ClassImages(NamedTuple):
    """Some validation images of a class."""

    images: Images
    condition: Condition | None


class TrainingImages:
    """Training and validation images of the baseline class and of one class of interest or several.

    Attributes
    ----------
    interests
        Labels of the classes of interest.
    conditions
        Numbers that the networks are told of each image: which class of interest it is of, one-hot; 0 where there is
        one alone.
    validation
        Label -> validation rows.
    """

    def __init__(self, config: Config, cohort: Cohort) -> None:
        settings = config.training
        self._cohort, self._settings = cohort, settings
        self.interests = interest_labels(cohort, settings)
        self.conditions = len(self.interests) if len(self.interests) > 1 else 0
        self._rows = rows = training_rows(cohort, self.interests, settings)
        self._bank = ImageBank(cohort, np.concatenate(list(rows.values())), memory_bytes=settings.memory_mb * 2**20)
        streams = {
            label: augmented(self._bank, found, config, purpose=f"images of class {label}")
            for label, found in rows.items()
        }
        self._baseline, self._interest = streams[0], ImagesInTurn([streams[label] for label in self.interests])
        self.validation = validation_rows(cohort, self.interests, settings)
        self._calibration = calibration_rows(rows, config.generator.calibration_images, seed=settings.seed)

    def batches(self, update: int, parts: Sequence[int]) -> list[TwoClassBatch]:
        """These parts of an update's ``accumulate`` batches."""
        count, accumulate = self._settings.batch_size, self._settings.accumulate
        fractions = numpy_generator(self._settings.seed, "fractions", update)
        mixing = torch.from_numpy(fractions.random((accumulate, count), dtype=np.float32))
        batches = []
        for part in parts:
            start = (update * accumulate + part) * count
            baseline = self._baseline.draw(start, count)
            interest, turns = self._interest.draw(start, count)
            condition = self._condition_of(np.array(self.interests)[turns])
            batches.append(TwoClassBatch(baseline, interest, mixing[part], condition))
        return batches

    def validation_images(self, label: int) -> Iterator[ClassImages]:
        """Validation images of a class, a few at a time."""
        rows = self.validation[label]
        images, condition = self._cohort.images(rows), self._condition_of(np.full(len(rows), label))
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            yield ClassImages(images[part], None if condition is None else condition[part])

    def mean(self) -> Images:
        """Mean of some training images of each class, as a batch of one."""
        return batch_mean(self._bank.images(calibration_rows(self._rows, MEAN_OF, seed=self._settings.seed)))

    def calibrated(self, network: Network) -> Network:
        """Copy of a map generator with batch norm's statistics of some training images."""
        labels = self._cohort.manifest.table["label"].to_numpy()[self._calibration]
        return calibrated(network, self._bank, self._calibration, self._condition_of(labels))

    def _condition_of(self, labels: NDArray[np.int64]) -> Condition | None:
        """Baseline images are told each class of interest in turn."""
        if not self.conditions:
            return None
        turns = np.arange(len(labels)) % self.conditions
        numbers = np.where(labels == 0, turns, np.searchsorted(self.interests, labels))
        return torch.eye(self.conditions)[torch.from_numpy(numbers)]
