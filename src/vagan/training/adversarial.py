"""VA-GAN as a task for the training loop: which images meet which network at which update."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from vagan.data.bank import ImageBank, ImagesInTurn, ShuffledImages
from vagan.data.cohort import Cohort
from vagan.effect import baseline_image, effect_map, raw_channels
from vagan.model_folder import ModelFacts
from vagan.nn.conditions import Condition, told
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.seeding import numpy_generator, seeded
from vagan.training.calibration import calibrated, calibration_rows
from vagan.training.config import Config
from vagan.training.losses import map_size
from vagan.training.processes import ALONE, Processes
from vagan.training.rows import interest_labels, mirror_axis_of, training_rows, validation_rows
from vagan.training.schedule import UpdateOrder, averaging_decay, learning_rate_factor
from vagan.training.state import TrainState
from vagan.training.steps import (
    Backward,
    Terms,
    TwoClassBatch,
    consolidate_generator,
    update_critic,
    update_generator,
)
from vagan.training.task import Monitor
from vagan.types import Images

BATCH = 50
RULE = "the generator at the end of the schedule, taught by the running average; no checkpoint is chosen"
RULE_OF_AVERAGE = "running average of the weights at the end of the schedule; no checkpoint is chosen"


class AdversarialTask:
    """Critic against map generator, on the baseline class and one class of interest or several.

    Where there are several, both networks are told which one an image is of.

    Parameters
    ----------
    config, cohort
        Settings and data.
    monitor
        Compares validation maps with true effects where they are known. For the curves only.
    processes
        Among which the batches of an update are divided.
    """

    def __init__(
        self,
        config: Config,
        cohort: Cohort,
        *,
        monitor: Monitor | None = None,
        processes: Processes = ALONE,
    ) -> None:
        interests = interest_labels(cohort, config.training)
        self._config, self._cohort, self._interests = config, cohort, interests
        self._conditions = len(interests) if len(interests) > 1 else 0
        self._loss = config.loss.at(cohort.shape)
        self._monitor = monitor if cohort.has_effects else None
        self._share = processes.share(config.training.accumulate)
        self._order = UpdateOrder(config.training.generator_updates, config.schedule)
        self.total = self._order.total + config.schedule.consolidation_updates
        seed = config.training.seed
        rows = training_rows(cohort, interests, config.training)
        self._bank = ImageBank(
            cohort, np.concatenate(list(rows.values())), memory_bytes=config.training.memory_mb * 2**20
        )
        mirror_axis = mirror_axis_of(cohort, config.training)
        streams = {
            label: ShuffledImages(
                self._bank, found, mirror_axis=mirror_axis, seed=seed, purpose=f"images of class {label}"
            )
            for label, found in rows.items()
        }
        self._baseline_images, self._interest_images = streams[0], ImagesInTurn([streams[n] for n in interests])
        self._validation = validation_rows(cohort, interests, config.training)
        self._calibration = calibration_rows(rows, config.generator.calibration_images, seed=seed)
        self._calibration_condition = self._condition_of(cohort.manifest.table["label"].to_numpy()[self._calibration])

    def build(self) -> TrainState:
        """Critic, generator and its average, with Adam for each."""
        config, dims = self._config, len(self._cohort.shape)
        with seeded(config.training.seed, "weights"):
            generator = MapGenerator(
                dims,
                channels=self._cohort.channels,
                outputs=raw_channels(config.generator.output, channels=self._cohort.channels, num_spatial_dims=dims),
                width=config.generator.width,
                normalisation=config.generator.normalisation,
                context=config.generator.context,
                zero_init=config.generator.zero_init,
                conditions=self._conditions,
                recompute=config.training.recompute,
            )
            critic = Critic(
                dims,
                channels=self._cohort.channels,
                width=config.critic.width,
                conditions=self._conditions,
                recompute=config.training.recompute,
            )
        optimizers: dict[str, Optimizer] = {
            "generator": Adam(
                generator.parameters(),
                lr=config.optimizer.generator_learning_rate,
                betas=(config.optimizer.generator_beta1, config.optimizer.generator_beta2),
            ),
            "critic": Adam(
                critic.parameters(),
                lr=config.optimizer.critic_learning_rate,
                betas=(config.optimizer.beta1, config.optimizer.beta2),
            ),
        }
        longest = config.generator.average

        def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            if not old.is_floating_point():
                return new  # batch norm's counter of batches
            return torch.lerp(old, new, 1 - averaging_decay(int(count), longest=longest))

        if config.schedule.consolidation_updates:
            optimizers["consolidation"] = Adam(
                generator.parameters(),
                lr=config.optimizer.generator_learning_rate,
                betas=(config.optimizer.generator_beta1, config.optimizer.generator_beta2),
            )
        average = AveragedModel(generator, avg_fn=mean, use_buffers=True)
        return TrainState({"generator": generator, "critic": critic, "average": average}, optimizers)

    def load(self, update: int) -> list[TwoClassBatch]:
        """Unpaired batches of both classes: this process's share of ``accumulate``."""
        count, parts = self._config.training.batch_size, self._config.training.accumulate
        fractions = numpy_generator(self._config.training.seed, "fractions", update)
        mixing = torch.from_numpy(fractions.random((parts, count), dtype=np.float32))
        batches = []
        for part in self._share:
            start = (update * parts + part) * count
            baseline = self._baseline_images.draw(start, count)
            interest, turns = self._interest_images.draw(start, count)
            condition = self._condition_of(np.array(self._interests)[turns])
            batches.append(TwoClassBatch(baseline, interest, mixing[part], condition))
        return batches

    def update(self, state: TrainState, batches: Sequence[TwoClassBatch], backward: Backward) -> Terms:
        """Update the network whose turn it is."""
        networks = state.networks
        if self._consolidates(state.updates):
            return self._consolidate(state, batches, backward)
        is_generator = self._order.is_generator_update(state.updates)
        loss, settings = self._loss, self._config.generator
        critic, generator, average = networks["critic"], networks["generator"], networks["average"]
        assert isinstance(average, AveragedModel)
        if not is_generator:
            optimizer = state.optimizers["critic"]
            return update_critic(
                critic, generator, optimizer, batches, loss=loss, settings=settings, backward=backward
            )
        done = self._order.generator_updates_before(state.updates)
        terms = update_generator(
            critic,
            generator,
            state.optimizers["generator"],
            batches,
            loss=loss,
            settings=settings,
            backward=backward,
            teacher=average.module if loss.transplant_weight > 0 and done >= loss.transplant_after else None,
        )
        average.update_parameters(generator)
        return terms

    def _consolidates(self, update: int) -> bool:
        """Whether an update (counted from 0) comes after the game with the critic."""
        return update >= self._order.total

    def _consolidate(self, state: TrainState, batches: Sequence[TwoClassBatch], backward: Backward) -> Terms:
        generator, average = state.networks["generator"], state.networks["average"]
        assert isinstance(average, AveragedModel)
        if state.updates == self._order.total:  # the game is over: its average teaches, and is where learning begins
            teacher = self._calibrated(average.module).state_dict()
            average.module.load_state_dict(teacher)
            generator.load_state_dict(teacher)
        return consolidate_generator(
            generator,
            average.module,
            state.optimizers["consolidation"],
            batches,
            loss=self._loss,
            settings=self._config.generator,
            backward=backward,
        )

    def rate_factor(self, optimizer: str, update: int) -> float:
        """In the game as ``optimizer.decay_from`` says; falling to 0 all along the consolidation."""
        game = self._order.total
        if optimizer == "consolidation":
            return learning_rate_factor(max(0, update - game) / (self.total - game), decay_from=0.0)
        return learning_rate_factor(min(update / game, 1.0), decay_from=self._config.optimizer.decay_from)

    def row_is_due(self, updates: int) -> bool:
        """After each generator update."""
        return self._consolidates(updates - 1) or self._order.is_generator_update(updates - 1)

    def validation_is_due(self, updates: int) -> bool:
        """After every ``validate_every``-th generator update, at the end of the game, and at the end."""
        done = self._order.generator_updates_before(updates) + max(0, updates - self._order.total)
        return self.row_is_due(updates) and (
            done % self._config.training.validate_every == 0 or updates in (self._order.total, self.total)
        )

    def validate(self, state: TrainState) -> dict[str, float]:
        """Sizes of the maps, and the critic's view of them, on validation images."""
        generator, critic = self._usable_generator(state), state.networks["critic"]
        sizes: dict[int, float] = {}
        scores: dict[int, float] = {}
        agreement: list[float] = []
        device = next(generator.parameters()).device
        with torch.no_grad():
            for label, rows in self._validation.items():
                generated, judged = [], []
                images = self._cohort.images(rows)
                condition = self._condition_of(np.full(len(rows), label))
                for part, of_part in _in_parts(images.to(device), condition):
                    without = self._without_class(generator, part, of_part)
                    generated.append(without)
                    judged.append(told(critic, of_part)(without if label else part))
                maps = effect_map(images, torch.cat(generated).cpu())
                sizes[label], scores[label] = float(map_size(maps)), float(torch.cat(judged).mean())
                if label and self._monitor:
                    agreement.append(self._monitor(maps, self._cohort.effects(rows)))
        size, score = (float(np.mean([found[label] for label in self._interests])) for found in (sizes, scores))
        return {
            "validation/map": size,
            "validation/baseline_map": sizes[0],
            "validation/energy_ratio": sizes[0] / max(size, 1e-12),
            "validation/wasserstein": scores[0] - score,
            **({"monitor/ncc": float(np.mean(agreement))} if agreement else {}),
        }

    def model(self, state: TrainState) -> tuple[nn.Module, ModelFacts]:
        """The averaged generator; after the game with the critic, the one that it teaches."""
        config, cohort = self._config, self._cohort
        return self._usable_generator(state), ModelFacts(
            kind="map-generator",
            num_spatial_dims=len(cohort.shape),
            channels=cohort.channels,
            shape=cohort.shape,
            width=config.generator.width,
            normalisation=config.generator.normalisation,
            context=config.generator.context,
            output=config.generator.output,
            classes=tuple(cohort.manifest.classes[label] for label in (0, *self._interests)),
            preparation=cohort.facts.preparation,
            pipeline=cohort.facts.pipeline,
            rule=RULE if config.schedule.consolidation_updates else RULE_OF_AVERAGE,
            cohort_hash=cohort.facts.content_hash,
        )

    def _usable_generator(self, state: TrainState) -> nn.Module:
        """Copy of the generator that is used so far, with batch norm's statistics measured for its own weights."""
        average = state.networks["average"]
        assert isinstance(average, AveragedModel)
        network = state.networks["generator"] if state.updates > self._order.total else average.module
        return self._calibrated(network)

    def _calibrated(self, network: nn.Module) -> nn.Module:
        return calibrated(network, self._bank, self._calibration, self._calibration_condition)

    def _condition_of(self, labels: NDArray[np.int64]) -> Condition | None:
        """One-hot classes of interest, where there are several; baseline images are of each in turn."""
        if not self._conditions:
            return None
        turns = np.arange(len(labels)) % self._conditions
        numbers = np.where(labels == 0, turns, np.searchsorted(self._interests, labels))
        return torch.eye(self._conditions)[torch.from_numpy(numbers)]

    def _without_class(self, generator: nn.Module, images: Images, condition: Condition | None) -> Images:
        maps = told(generator, condition)(images)
        return baseline_image(images, maps, self._config.generator.output)


def _in_parts(images: Images, condition: Condition | None) -> Iterator[tuple[Images, Condition | None]]:
    """At most `BATCH` at a time."""
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        yield images[part], None if condition is None else condition[part].to(images.device)
