"""Adversarial training of a map generator (VA-GAN)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel

from vagan.axes import largest_axial_slice, per_sample_mean
from vagan.constants import EMPTY_MAP_QUANTILE
from vagan.data.cohort import Cohort
from vagan.effect import counterfactual_image, effect_map, without_effect
from vagan.model.folder import ModelSpec, build_network
from vagan.nn.conditioning import Condition, conditioned
from vagan.nn.critic import Critic
from vagan.seeding import seeded
from vagan.training.bn_recalibration import recalibrated
from vagan.training.config import Config
from vagan.training.engine.memory import require_memory
from vagan.training.engine.processes import ALONE, Processes
from vagan.training.engine.state import Monitor, TrainState, ValidationExamples
from vagan.training.objectives import Terms
from vagan.training.ood import fit_ood
from vagan.training.sampling import Batch, Rows, TrainingImages, validation_rows
from vagan.training.schedule import UpdateOrder, cosine_decay, ema_decay
from vagan.training.steps import Backward, distil_generator, update_critic, update_generator
from vagan.types import Images

RULE = "the generator distilled from its running average after {} generator updates; no checkpoint is chosen"
RULE_OF_AVERAGE = "running average of the weights after {} generator updates; no checkpoint is chosen"

EXAMPLES = 4
"""Validation images of each class that are shown."""
COMPARED_IMAGES = 256
"""Validation images of each class on which distilled maps are compared with those that they were distilled from."""
MIN_EFFECT_SHARE = 0.95
"""Of the size of the effect, at which distillation is kept."""
WASSERSTEIN, MAP, BASELINE_MAP = "critic/wasserstein", "generator/map", "generator/baseline_map"


class AdversarialTask:
    """Critic against map generator, on the baseline class and one class of interest or several.

    Where there are several, both networks are conditioned on the class.
    """

    def __init__(
        self,
        config: Config,
        cohort: Cohort,
        *,
        monitor: Monitor | None = None,
        processes: Processes = ALONE,
    ) -> None:
        factor = config.training.downsampling
        self._config, self._full_resolution = config, cohort
        self._cohort = cohort = cohort.downsampled(factor)
        self._images = TrainingImages(config.downsampled(factor), cohort)
        self._loss = config.loss.at(cohort.shape)
        self.examples: ValidationExamples | None = None
        self._final: tuple[nn.Module, str] | None = None
        many = config.training.model_copy(update={"validation_images": COMPARED_IMAGES})
        self._compared = validation_rows(cohort, self._images.interests, many)
        self._monitor = monitor if cohort.has_effects else None
        self._share = processes.share(config.training.accumulate_grad_batches)
        self._set_length(config.training.generator_updates)
        self._spec = ModelSpec(
            kind="map-generator",
            num_spatial_dims=len(cohort.shape),
            channels=cohort.channels,
            shape=self._full_resolution.shape,
            spacing_mm=cohort.metadata.spacing_mm,
            width=config.generator.width,
            global_context=config.generator.global_context,
            output=config.generator.output,
            downsampling=factor,
            patch_size=config.generator.patch_size,
            classes=tuple(cohort.manifest.classes[label] for label in (0, *self._images.interests)),
            covariates=self._images.covariates,
            bidirectional=config.training.bidirectional,
            preparation=cohort.metadata.preparation,
            pipeline=cohort.metadata.pipeline,
            rule=RULE_OF_AVERAGE.format(config.training.generator_updates),
            cohort_hash=cohort.metadata.content_hash,
        )

    def build(self) -> TrainState:
        """Critic, generator and its average, with Adam for each."""
        config, adam = self._config, self._config.optimizer
        checkpointing = config.training.gradient_checkpointing

        with seeded(config.training.seed, "weights"):
            generator = build_network(
                self._spec,
                zero_init=config.generator.zero_init,
                downsampled=True,
                gradient_checkpointing=checkpointing,
            )
            critic = Critic(
                len(self._cohort.shape),
                channels=self._cohort.channels,
                width=config.critic.width,
                max_width=config.critic.max_width,
                patch_size=config.critic.patch_size,
                smoothing=config.critic.smoothing,
                conditions=self._images.critic_conditions,
                gradient_checkpointing=checkpointing,
            )

        def average(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            if not old.is_floating_point():
                return new  # batch norm's counter of batches
            decay = ema_decay(int(count), rampup=config.generator.ema_rampup, max_decay=config.generator.ema_decay)
            return torch.lerp(old, new, 1 - decay)

        critic_betas, betas = (adam.beta1, adam.beta2), (adam.generator_beta1, adam.generator_beta2)
        optimizers: dict[str, Optimizer] = {
            "generator": Adam(generator.parameters(), lr=adam.generator_learning_rate, betas=betas, fused=True),
            "critic": Adam(critic.parameters(), lr=adam.critic_learning_rate, betas=critic_betas, fused=True),
        }
        ema = AveragedModel(generator, avg_fn=average, use_buffers=True).eval()
        networks: dict[str, nn.Module] = {"generator": generator, "critic": critic, "average": ema}
        if config.schedule.distillation_updates:
            optimizers["distillation"] = Adam(
                generator.parameters(), lr=adam.generator_learning_rate, betas=betas, fused=True
            )
        return TrainState(networks, optimizers)

    def plan(self, state: TrainState, means: Mapping[str, float]) -> None:
        """End training against the critic early where it is complete."""
        stopping, earliest = state.early_stopping, self._config.schedule.early_stopping_from
        if WASSERSTEIN in means:
            stopping.add_critic_update(means[WASSERSTEIN])
        elif MAP in means and not stopping.stopped_at:
            stopping.add_generator_update(means[MAP], means.get(BASELINE_MAP, means[MAP]))
            if 0 < earliest <= stopping.updates and stopping.is_complete():
                stopping.stopped_at = stopping.updates
        length = stopping.stopped_at or self._config.training.generator_updates
        if length != self._order.generator_updates:
            self._set_length(length)

    def check(self, state: TrainState, device: torch.device, *, half: bool) -> None:
        """Refuse a training that surely does not fit into memory."""
        require_memory(state, self._config, (self._cohort.channels, *self._cohort.shape), device, half=half)

    def load(self, update: int) -> list[Batch]:
        """Unpaired batches of both classes: this process's share of those that are accumulated."""
        return self._images.batches(update, self._share)

    def update(self, state: TrainState, batches: Sequence[Batch], backward: Backward) -> Terms:
        """Update the critic, or the map generator against it; at the end, distil the averaged generator."""
        critic, generator, ema = state.networks["critic"], state.networks["generator"], _ema(state)
        progress = min(state.updates / self._order.total, 1.0)
        common: dict[str, Any] = {
            "loss": self._loss.after(progress),
            "settings": self._config.generator,
            "backward": backward,
        }
        if state.updates == self._order.total:  # the average is the teacher, and where the student begins
            weights = self._recalibrated(ema.module).state_dict()
            ema.module.load_state_dict(weights)
            generator.load_state_dict(weights)
        if state.updates >= self._order.total:
            return distil_generator(generator, ema.module, state.optimizers["distillation"], batches, **common)
        if not self._order.is_generator_update(state.updates):
            return update_critic(critic, generator, state.optimizers["critic"], batches, **common)
        done = self._order.generator_updates_before(state.updates)
        transfers = self._loss.effect_transfer_weight > 0 and done >= self._loss.effect_transfer_after
        teacher = ema.module if transfers else None
        terms = update_generator(critic, generator, state.optimizers["generator"], batches, teacher=teacher, **common)
        ema.update_parameters(generator)
        return terms

    def lr_factor(self, optimizer: str, update: int) -> float:
        """Against the critic as ``optimizer.decay_from`` says; falling to 0 all along the distillation."""
        adversarial = self._order.total
        if optimizer == "distillation":
            return cosine_decay(max(0, update - adversarial) / (self.total - adversarial), decay_from=0.0)
        if optimizer == "critic" and not self._config.optimizer.critic_decays:
            return 1.0
        return cosine_decay(min(update / adversarial, 1.0), decay_from=self._config.optimizer.decay_from)

    def should_log(self, updates: int) -> bool:
        """After each update of the generator."""
        return updates > self._order.total or self._order.is_generator_update(updates - 1)

    def should_validate(self, updates: int) -> bool:
        """After every ``validate_every``-th generator update, where distillation begins, and at the end."""
        done = self._order.generator_updates_before(updates) + max(0, updates - self._order.total)
        return done % self._config.training.validate_every == 0 or updates in (self._order.total, self.total)

    def validate(self, state: TrainState) -> dict[str, float]:
        """Sizes of the maps, and the critic's scores, on validation images."""
        generator, critic = self._chosen(state)[0], state.networks["critic"]
        sizes: dict[int, Tensor] = {}
        scores: dict[int, float] = {}
        shown: list[tuple[Tensor, Tensor]] = []
        agreement: list[float] = []
        with torch.no_grad():
            for label, rows in self._images.validation.items():
                maps, critic_scores = [], []
                for images, without, condition in self._counterfactuals(generator, label, rows):
                    maps.append(effect_map(images, without).cpu())
                    critic_scores.append(conditioned(critic, condition)(without if label else images))
                    if len(maps) == 1:
                        shown.append(largest_axial_slice(images[:EXAMPLES].cpu(), maps[0][:EXAMPLES]))
                effects = torch.cat(maps)
                sizes[label], scores[label] = per_sample_mean(effects.abs()), float(torch.cat(critic_scores).mean())
                if label and self._monitor:
                    agreement.append(self._monitor(effects, self._cohort.effects(rows)))
        interest = torch.cat([sizes[label] for label in self._images.interests])
        size, baseline_size = float(interest.mean()), float(sizes[0].mean())
        score = float(np.mean([scores[label] for label in self._images.interests]))
        images, effects = (torch.cat(parts) for parts in zip(*shown, strict=True))
        classes = [self._spec.classes[n] for n, (part, _) in enumerate(shown) for _ in part]
        self.examples = ValidationExamples(images, without_effect(images, effects), tuple(classes))
        return {
            "validation/map": size,
            "validation/baseline_map": baseline_size,
            "validation/baseline_response_ratio": baseline_size / max(size, 1e-12),
            "validation/empty_map": float((interest <= sizes[0].quantile(EMPTY_MAP_QUANTILE)).double().mean()),
            "validation/wasserstein": scores[0] - score,
            **({"monitor/ncc": float(np.mean(agreement))} if agreement else {}),
        }

    def model(self, state: TrainState) -> tuple[nn.Module, ModelSpec]:
        """The averaged generator, or the one that it has taught; see `_chosen`."""
        network, rule = self._chosen(state)
        return network, self._spec.model_copy(update={"rule": rule})

    def _chosen(self, state: TrainState) -> tuple[nn.Module, str]:
        """The averaged generator, during distillation the distilled one, at its end the better of both; and why."""
        if state.updates <= self._order.total:
            done = self._order.generator_updates_before(state.updates)
            return self._recalibrated(_ema(state).module), RULE_OF_AVERAGE.format(done)
        if state.updates < self.total:
            return self._recalibrated(state.networks["generator"]), RULE.format(self._order.generator_updates)
        if self._final is None:  # the last validation asks as well as what is saved after it
            self._final = self._better(state)
        return self._final

    def _better(self, state: TrainState) -> tuple[nn.Module, str]:
        """The distilled generator, if distillation left the effect its size; otherwise the averaged one.

        The size is by how much the maps of validation images of the class of interest are larger than those of
        baseline images. Where the effect depends on the image that shows it, such as its shape, the generator learns
        to find it in the images to which it was transferred, but finds less of it in others.
        """
        distilled = self._recalibrated(state.networks["generator"])
        averaged = self._recalibrated(_ema(state).module)
        before, after = self._effect_size(averaged), self._effect_size(distilled)
        found = f"; size of the effect {before:.4f} before and {after:.4f} after distillation"
        done = self._order.generator_updates
        if after < MIN_EFFECT_SHARE * before:
            rejected = "; distillation is rejected, as it lost part of the effect"
            return averaged, RULE_OF_AVERAGE.format(done) + rejected + found
        return distilled, RULE.format(done) + found

    def _set_length(self, generator_updates: int) -> None:
        self._order = UpdateOrder(generator_updates, self._config.schedule)
        self.total = self._order.total + self._config.schedule.distillation_updates

    def _effect_size(self, generator: nn.Module) -> float:
        """Mean ``|effect|`` in validation images of the class of interest, minus that in those of the baseline class.

        The difference excludes the texture that maps of both classes show alike, and that distillation removes.
        """
        sizes = {}
        for label, rows in self._compared.items():
            parts = self._counterfactuals(generator, label, rows)
            effects = [per_sample_mean(effect_map(images, without).abs()) for images, without, _ in parts]
            sizes[label] = float(torch.cat(effects).mean())
        return float(np.mean([sizes[label] for label in self._images.interests])) - sizes[0]

    def _counterfactuals(
        self, generator: nn.Module, label: int, rows: Rows
    ) -> Iterator[tuple[Images, Images, Condition | None]]:
        """Validation images of a class, the same without the class of interest, and conditions, a few at a time."""
        device = next(generator.parameters()).device
        for part, condition in self._images.validation_images(label, rows):
            images = part.to(device)
            with torch.no_grad():
                raw_map = conditioned(generator, condition)(images)
            yield images, counterfactual_image(images, raw_map, self._config.generator.output), condition

    def finish(self, model: Path, device: torch.device) -> None:
        """Measure what training images look like to the saved generator, for its out-of-distribution scores."""
        fit_ood(model, self._full_resolution, device)

    def _recalibrated(self, generator: nn.Module) -> nn.Module:
        images = self._images
        return recalibrated(generator, images.cache.images, images.recalibration, images.recalibration_condition())


def _ema(state: TrainState) -> AveragedModel:
    ema = state.networks["average"]
    assert isinstance(ema, AveragedModel)
    return ema
