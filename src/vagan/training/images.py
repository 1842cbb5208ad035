"""The images of a training of VA-GAN: unpaired batches, and what the networks are told of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.data.cohort import Cohort
from vagan.data.covariates import covariate_numbers, measure_covariates
from vagan.errors import ConfigError
from vagan.nn.conditioning import Condition, side_by_side
from vagan.seeding import numpy_generator
from vagan.training.bn_recalibration import calibrated, calibration_rows, in_turn
from vagan.training.config import Config
from vagan.training.image_cache import ImageBank, ImagesInTurn
from vagan.training.rows import augmented, interest_labels, matched_rows, training_rows, validation_rows
from vagan.training.steps import TwoClassBatch
from vagan.types import Images, Scores

BATCH = 50
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
        Numbers that the generator is told of each image: which class of interest is to be taken out, one-hot, unless
        there is one alone; the covariates that it is to have; and, for contrasts, by how much these differ from its
        own. For contrasts no class is taken out: an image is to become like another one of its class. Where both
        directions are learnt, as many numbers more say which class is to be put in.
    judged
        Those that the critic is told, the first ones: what an image is to be, not what it was.
    validation
        Label -> validation rows.
    """

    def __init__(self, config: Config, cohort: Cohort) -> None:
        settings = config.training
        if settings.intervention and not settings.covariates:
            raise ConfigError("training.intervention learns what covariates do: name them with training.covariates")
        if settings.intervention and (config.loss.effect_transfer_weight or config.schedule.distillation_updates):
            raise ConfigError(
                "training.intervention must go without effect transfer: use --preset intervention, or set "
                "loss.effect_transfer_weight=0 schedule.distillation_updates=0"
            )
        if settings.intervention and settings.bidirectional:
            raise ConfigError(
                "training.intervention and training.bidirectional must be trainings of their own; drop one"
            )
        if config.loss.cycle_weight and not settings.bidirectional:
            raise ConfigError("loss.cycle_weight needs the way back: set training.bidirectional=true, or it to 0")
        if config.loss.insertion_weight_scale < 1 and not settings.bidirectional:
            raise ConfigError(
                "loss.insertion_weight_scale below 1 needs training.bidirectional=true; set that, or it to 1"
            )
        self._cohort, self._settings, self._insertion_weight_scale = (
            cohort,
            settings,
            config.loss.insertion_weight_scale,
        )
        self.interests = interest_labels(cohort, settings)
        rows = training_rows(cohort, self.interests, settings)
        self.validation = validation_rows(cohort, self.interests, settings)
        self.covariates = measure_covariates(settings.covariates, _of(cohort, rows))
        self._tasks = 1 if settings.intervention else len(self.interests) * (1 + settings.bidirectional)
        width = sum(one.width for one in self.covariates)
        self.judged = (self._tasks if self._tasks > 1 else 0) + width
        self.conditions = self.judged + width * settings.intervention
        self._bank = ImageBank(cohort, np.concatenate(list(rows.values())), memory_bytes=settings.memory_mb * 2**20)
        interest = {f"images of class {label}": rows[label] for label in self.interests}
        baseline = {"images of class 0": rows[0]}
        if settings.intervention:
            interest = {f"images of class {label} to change": found for label, found in rows.items()}
            baseline = {f"images of class {label} to change to": found for label, found in rows.items()}
        elif self.covariates or settings.bidirectional:
            baseline = {f"images of class 0 for {label}": self._like(rows, label) for label in self.interests}
        if settings.bidirectional:
            interest |= {f"images of class 0 to become {label}": self._like(rows, label) for label in self.interests}
            baseline |= {f"images of class {label} to become": rows[label] for label in self.interests}
        if self.covariates and not settings.intervention:
            alike = [self._like(self.validation, label, neighbours=1) for label in self.interests]
            self.validation[0] = in_turn(alike)
        healthy = [self._like(rows, label) for label in self.interests]
        shown = rows | {0: np.concatenate(healthy)} if self.covariates and not settings.intervention else rows
        self._calibration = calibration_rows(shown, config.generator.bn_recalibration_images, seed=settings.seed)
        self._baseline, self._interest = (
            ImagesInTurn([augmented(self._bank, found, config, purpose=name) for name, found in streams.items()])
            for streams in (baseline, interest)
        )

    def batches(self, update: int, parts: Sequence[int]) -> list[TwoClassBatch]:
        """These parts of an update's ``accumulate`` batches."""
        count, accumulate = self._settings.batch_size, self._settings.accumulate_grad_batches
        fractions = numpy_generator(self._settings.seed, "fractions", update)
        mixing = torch.from_numpy(fractions.random((accumulate, count), dtype=np.float32))
        batches = []
        for part in parts:
            start = (update * accumulate + part) * count
            baseline, _ = self._baseline.draw(start, count)
            interest, tasks = self._interest.draw(start, count)
            own, beside = self._interest.rows(start, count), self._baseline.rows(start, count)
            condition = self._condition_of(tasks, own, beside if self._settings.intervention else own)
            baseline_condition = self._condition_of(tasks, beside, beside)
            back = (tasks + len(self.interests)) % self._tasks
            way_back = self._condition_of(back, own, own) if self._settings.bidirectional else None
            told = (condition, baseline_condition, way_back, self._map_shares(tasks))
            batches.append(TwoClassBatch(baseline, interest, mixing[part], *told))
        return batches

    def _map_shares(self, tasks: NDArray[np.int64]) -> Scores | None:
        if self._insertion_weight_scale == 1:
            return None
        return torch.from_numpy(
            np.where(tasks < len(self.interests), 1, self._insertion_weight_scale).astype(np.float32)
        )

    def validation_images(self, label: int) -> Iterator[ClassImages]:
        """Validation images of a class, a few at a time."""
        rows = self.validation[label]
        images, condition = self._cohort.images(rows), self._examples(np.full(len(rows), label), rows)
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            yield ClassImages(images[part], None if condition is None else condition[part])

    def calibrated(self, network: Network) -> Network:
        """Copy of a map generator with batch norm's statistics of some training images."""
        labels = self._cohort.manifest.table["label"].to_numpy()[self._calibration]
        examples = self._examples(labels, self._calibration, everything=True)
        return calibrated(network, self._bank, self._calibration, examples)

    def _like(
        self, rows: Mapping[int, NDArray[np.int64]], label: int, *, neighbours: int = NEIGHBOURS
    ) -> NDArray[np.int64]:
        """Baseline images that are alike, in the covariates, to those of a class; without covariates all."""
        if not self.covariates:
            return rows[0]
        seed = self._settings.seed
        return matched_rows(self._cohort, rows, label, self.covariates, neighbours=neighbours, seed=seed)

    def _examples(
        self, labels: NDArray[np.int64], rows: NDArray[np.int64], *, everything: bool = False
    ) -> Condition | None:
        """What is told of images to try the generator on them: of baseline images each class in turn.

        For contrasts, images of classes of interest are to become like the next one, and baseline images stay. With
        ``everything``, where both directions are learnt, in half of the images a class is to be put in.
        """
        if self._settings.intervention:
            return self._condition_of(np.zeros_like(labels), rows, np.where(labels == 0, rows, np.roll(rows, 1)))
        classes, places = len(self.interests), np.arange(len(labels))
        tasks = np.where(labels == 0, places % classes, np.searchsorted(self.interests, labels))
        if everything and self._settings.bidirectional:
            # rows come in rounds of one of each class; all of a round go one way, for as many as there are classes
            tasks = tasks + classes * (places // (1 + classes) // classes % 2)
        return self._condition_of(tasks, rows, rows)

    def _condition_of(
        self, tasks: NDArray[np.int64], rows: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> Condition | None:
        """What is told of images of these rows, that are to have the covariates of the rows ``targets``."""
        task = torch.eye(self._tasks)[torch.from_numpy(tasks)] if self._tasks > 1 else None
        if not self.covariates:
            return task
        table = self._cohort.manifest.table
        own, wanted = (
            torch.from_numpy(covariate_numbers(self.covariates, table.iloc[found])) for found in (rows, targets)
        )
        return side_by_side(task, wanted, wanted - own if self._settings.intervention else None)


def _of(cohort: Cohort, rows: Mapping[int, NDArray[np.int64]]) -> pd.DataFrame:
    return cohort.manifest.table.iloc[np.concatenate(list(rows.values()))]
