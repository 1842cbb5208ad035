"""VA-GAN as a task for the training loop: which images meet which network at which update."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from vagan.data.bank import ImageBank, ShuffledImages
from vagan.data.cohort import Cohort
from vagan.effect import baseline_image, effect_map, raw_channels
from vagan.model_folder import ModelFacts
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.seeding import numpy_generator, seeded
from vagan.training.calibration import calibrated, calibration_rows
from vagan.training.config import Config
from vagan.training.losses import map_size
from vagan.training.processes import ALONE, Processes
from vagan.training.rows import interest_label, mirror_axis_of, training_rows, validation_rows
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
    """Critic against map generator, on the baseline class and one class of interest.

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
        interest = interest_label(cohort, config.training)
        self._config, self._cohort, self._interest = config, cohort, interest
        self._loss = config.loss.at(cohort.shape)
        self._monitor = monitor if cohort.has_effects else None
        self._share = processes.share(config.training.accumulate)
        self._order = UpdateOrder(config.training.generator_updates, config.schedule)
        self.total = self._order.total + config.schedule.consolidation_updates
        seed = config.training.seed
        rows = training_rows(cohort, interest, config.training)
        self._bank = ImageBank(
            cohort, np.concatenate(list(rows.values())), memory_bytes=config.training.memory_mb * 2**20
        )
        mirror_axis = mirror_axis_of(cohort, config.training)
        self._streams = {
            label: ShuffledImages(
                self._bank, found, mirror_axis=mirror_axis, seed=seed, purpose=f"images of class {label}"
            )
            for label, found in rows.items()
        }
        self._validation = validation_rows(cohort, interest, config.training)
        self._calibration = calibration_rows(rows, config.generator.calibration_images, seed=seed)

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
                recompute=config.training.recompute,
            )
            critic = Critic(
                dims,
                channels=self._cohort.channels,
                width=config.critic.width,
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
            images = {label: stream.draw(start, count) for label, stream in self._streams.items()}
            batches.append(TwoClassBatch(images[0], images[self._interest], mixing[part]))
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
            teacher = calibrated(average.module, self._bank, self._calibration).state_dict()
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
        figures: dict[str, float] = {}
        device = next(generator.parameters()).device
        with torch.no_grad():
            for label, rows in self._validation.items():
                images = self._cohort.images(rows).to(device)
                generated = torch.cat([self._baseline_images(generator, part) for part in images.split(BATCH)])
                sizes[label] = float(map_size(generated - images))
                judged = generated if label else images
                scores[label] = float(torch.cat([critic(part) for part in judged.split(BATCH)]).mean())
                if label and self._monitor:
                    maps = effect_map(images, generated)
                    figures["monitor/ncc"] = self._monitor(maps.cpu(), self._cohort.effects(rows))
        return {
            "validation/map": sizes[self._interest],
            "validation/baseline_map": sizes[0],
            "validation/energy_ratio": sizes[0] / max(sizes[self._interest], 1e-12),
            "validation/wasserstein": scores[0] - scores[self._interest],
            **figures,
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
            classes=(cohort.manifest.classes[0], cohort.manifest.classes[self._interest]),
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
        return calibrated(network, self._bank, self._calibration)

    def _baseline_images(self, generator: nn.Module, images: Images) -> Images:
        return baseline_image(images, generator(images), self._config.generator.output)
