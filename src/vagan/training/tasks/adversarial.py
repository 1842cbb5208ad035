"""VA-GAN as a task for the training loop: which images meet which network at which update."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from vagan.data.cohort import Cohort
from vagan.effect import baseline_image, effect_map, is_coarse, raw_channels
from vagan.model.folder import ModelSpec
from vagan.nn.conditioning import Condition, told
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.seeding import seeded
from vagan.training.config import Config
from vagan.training.engine.processes import ALONE, Processes
from vagan.training.engine.state import TrainState
from vagan.training.engine.task import Monitor
from vagan.training.images import TrainingImages
from vagan.training.losses import map_size
from vagan.training.schedule import UpdateOrder, averaging_decay, learning_rate_factor
from vagan.training.steps import (
    Backward,
    Terms,
    TwoClassBatch,
    consolidate_generator,
    update_critic,
    update_generator,
)
from vagan.types import Images

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
        self._config, self._cohort = config, cohort
        self._images = TrainingImages(config, cohort)
        self._loss = config.loss.at(cohort.shape)
        self._monitor = monitor if cohort.has_effects and not config.training.intervention else None
        self._share = processes.share(config.training.accumulate_grad_batches)
        self._order = UpdateOrder(config.training.generator_updates, config.schedule)
        self.total = self._order.total + config.schedule.distillation_updates

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
                global_context=config.generator.global_context,
                zero_init=config.generator.zero_init,
                conditions=self._images.conditions,
                coarse=is_coarse(config.generator.output),
                gradient_checkpointing=config.training.gradient_checkpointing,
            )
            critic = Critic(
                dims,
                channels=self._cohort.channels,
                width=config.critic.width,
                conditions=self._images.judged,
                gradient_checkpointing=config.training.gradient_checkpointing,
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
        reach, longest = config.generator.ema_rampup, config.generator.ema_decay

        def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            if not old.is_floating_point():
                return new  # batch norm's counter of batches
            return torch.lerp(old, new, 1 - averaging_decay(int(count), reach=reach, longest=longest))

        if config.schedule.distillation_updates:
            optimizers["consolidation"] = Adam(
                generator.parameters(),
                lr=config.optimizer.generator_learning_rate,
                betas=(config.optimizer.generator_beta1, config.optimizer.generator_beta2),
            )
        average = AveragedModel(generator, avg_fn=mean, use_buffers=True)
        return TrainState({"generator": generator, "critic": critic, "average": average}, optimizers)

    def load(self, update: int) -> list[TwoClassBatch]:
        """Unpaired batches of both classes: this process's share of ``accumulate``."""
        return self._images.batches(update, self._share)

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
            teacher=average.module
            if loss.effect_transfer_weight > 0 and done >= loss.effect_transfer_after
            else None,
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
            teacher = self._images.calibrated(average.module).state_dict()
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
        if optimizer == "critic" and not self._config.optimizer.critic_decays:
            return 1.0
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
            for label, rows in self._images.validation.items():
                maps, judged = [], []
                for part in self._images.validation_images(label):
                    images = part.images.to(device)
                    without = self._without_class(generator, images, part.condition)
                    maps.append(effect_map(images, without).cpu())
                    judged.append(told(critic, part.condition)(without if label else images))
                effects = torch.cat(maps)
                sizes[label], scores[label] = float(map_size(effects)), float(torch.cat(judged).mean())
                if label and self._monitor:
                    agreement.append(self._monitor(effects, self._cohort.effects(rows)))
        size, score = (
            float(np.mean([found[label] for label in self._images.interests])) for found in (sizes, scores)
        )
        return {
            "validation/map": size,
            "validation/baseline_map": sizes[0],
            "validation/baseline_response_ratio": sizes[0] / max(size, 1e-12),
            "validation/wasserstein": scores[0] - score,
            **({"monitor/ncc": float(np.mean(agreement))} if agreement else {}),
        }

    def model(self, state: TrainState) -> tuple[nn.Module, ModelSpec]:
        """The averaged generator; after the game with the critic, the one that it teaches."""
        config, cohort = self._config, self._cohort
        return self._usable_generator(state), ModelSpec(
            kind="map-generator",
            num_spatial_dims=len(cohort.shape),
            channels=cohort.channels,
            shape=cohort.shape,
            spacing_mm=cohort.metadata.spacing_mm,
            width=config.generator.width,
            normalisation=config.generator.normalisation,
            global_context=config.generator.global_context,
            output=config.generator.output,
            classes=tuple(cohort.manifest.classes[label] for label in (0, *self._images.interests)),
            covariates=self._images.covariates,
            intervention=config.training.intervention,
            bidirectional=config.training.bidirectional,
            preparation=cohort.metadata.preparation,
            pipeline=cohort.metadata.pipeline,
            rule=RULE if config.schedule.distillation_updates else RULE_OF_AVERAGE,
            cohort_hash=cohort.metadata.content_hash,
        )

    def _usable_generator(self, state: TrainState) -> nn.Module:
        """Copy of the generator that is used so far, with batch norm's statistics measured for its own weights."""
        average = state.networks["average"]
        assert isinstance(average, AveragedModel)
        network = state.networks["generator"] if state.updates > self._order.total else average.module
        return self._images.calibrated(network)

    def _without_class(self, generator: nn.Module, images: Images, condition: Condition | None) -> Images:
        maps = told(generator, condition)(images)
        return baseline_image(images, maps, self._config.generator.output)
