"""The images of a training of VA-GAN: unpaired batches, and what the networks are told of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.axes import batch_mean
from vagan.data.bank import ImageBank, ImagesInTurn
from vagan.data.cohort import Cohort
from vagan.data.covariates import covariate_numbers, measure_covariates
from vagan.nn.conditions import Condition, side_by_side
from vagan.seeding import numpy_generator
from vagan.training.calibration import calibrated, calibration_rows, in_turn
from vagan.training.config import Config
from vagan.training.rows import augmented, interest_labels, matched_rows, training_rows, validation_rows
from vagan.training.steps import TwoClassBatch
from vagan.types import Images

BATCH = 50
MEAN_OF = 64
NEIGHBOURS = 5
"""Baseline images for each image of a class of interest, of which those of a training are drawn."""

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
    covariates
        What the networks are told of each image besides, by the settings.
    conditions
        Numbers that they are told of each image: which class of interest it is of, one-hot, unless there is one
        alone; then its covariates.
    validation
        Label -> validation rows.
    """

    def __init__(self, config: Config, cohort: Cohort) -> None:
        settings = config.training
        self._cohort, self._settings = cohort, settings
        self.interests = interest_labels(cohort, settings)
        self._rows = rows = training_rows(cohort, self.interests, settings)
        self.validation = validation_rows(cohort, self.interests, settings)
        self.covariates = measure_covariates(settings.covariates, _of(cohort, rows))
        self._classes = len(self.interests) if len(self.interests) > 1 else 0
        self.conditions = self._classes + sum(one.width for one in self.covariates)
        self._bank = ImageBank(cohort, np.concatenate(list(rows.values())), memory_bytes=settings.memory_mb * 2**20)
        beside = {"": rows[0]}
        if self.covariates:  # where the classes differ in them, baseline images that are alike in them
            beside = {f" for {label}": self._matched(rows, label, neighbours=NEIGHBOURS) for label in self.interests}
            alike = [self._matched(self.validation, label, neighbours=1) for label in self.interests]
            self.validation[0], rows[0] = in_turn(alike), np.concatenate(list(beside.values()))
        self._baseline, self._interest = (
            ImagesInTurn([augmented(self._bank, found, config, purpose=name) for name, found in streams.items()])
            for streams in (
                {f"images of class 0{name}": found for name, found in beside.items()},
                {f"images of class {label}": rows[label] for label in self.interests},
            )
        )
        self._calibration = calibration_rows(rows, config.generator.calibration_images, seed=settings.seed)

    def batches(self, update: int, parts: Sequence[int]) -> list[TwoClassBatch]:
        """These parts of an update's ``accumulate`` batches."""
        count, accumulate = self._settings.batch_size, self._settings.accumulate
        fractions = numpy_generator(self._settings.seed, "fractions", update)
        mixing = torch.from_numpy(fractions.random((accumulate, count), dtype=np.float32))
        batches = []
        for part in parts:
            start = (update * accumulate + part) * count
            baseline, _ = self._baseline.draw(start, count)
            interest, turns = self._interest.draw(start, count)
            labels = np.array(self.interests)[turns]
            condition, baseline_condition = (
                self._condition_of(labels, stream.rows(start, count)) for stream in (self._interest, self._baseline)
            )
            batches.append(TwoClassBatch(baseline, interest, mixing[part], condition, baseline_condition))
        return batches

    def validation_images(self, label: int) -> Iterator[ClassImages]:
        """Validation images of a class, a few at a time."""
        rows = self.validation[label]
        images, condition = self._cohort.images(rows), self._condition_of(np.full(len(rows), label), rows)
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            yield ClassImages(images[part], None if condition is None else condition[part])

    def mean(self) -> Images:
        """Mean of some training images of each class, as a batch of one."""
        return batch_mean(self._bank.images(calibration_rows(self._rows, MEAN_OF, seed=self._settings.seed)))

    def calibrated(self, network: Network) -> Network:
        """Copy of a map generator with batch norm's statistics of some training images."""
        labels = self._cohort.manifest.table["label"].to_numpy()[self._calibration]
        return calibrated(network, self._bank, self._calibration, self._condition_of(labels, self._calibration))

    def _matched(self, rows: Mapping[int, NDArray[np.int64]], label: int, *, neighbours: int) -> NDArray[np.int64]:
        seed = self._settings.seed
        return matched_rows(self._cohort, rows, label, self.covariates, neighbours=neighbours, seed=seed)

    def _condition_of(self, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> Condition | None:
        """What is told of images of these rows; baseline images are told each class of interest in turn."""
        of_class = of_subject = None
        if self._classes:
            turns = np.arange(len(labels)) % self._classes
            numbers = np.where(labels == 0, turns, np.searchsorted(self.interests, labels))
            of_class = torch.eye(self._classes)[torch.from_numpy(numbers)]
        if self.covariates:
            table = self._cohort.manifest.table.iloc[rows]
            of_subject = torch.from_numpy(covariate_numbers(self.covariates, table))
        return side_by_side(of_class, of_subject)


def _of(cohort: Cohort, rows: Mapping[int, NDArray[np.int64]]) -> pd.DataFrame:
    return cohort.manifest.table.iloc[np.concatenate(list(rows.values()))]
