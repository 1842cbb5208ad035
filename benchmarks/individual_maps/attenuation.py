"""Whether the generator learns more if the critic sees images with large components of normal variation attenuated.

Principal components of both classes' training images, each about its class's mean and in random poses, are
attenuated to the variance ``rho``, the sum over all voxels; components of less variance stay as they are. The critic
sees, and its gradient penalty is measured on, images after this. 0 leaves all as they are. Training at 5.2 mm with
small networks, by preset ``brain`` otherwise; NCC on validation scans.

    python benchmarks/individual_maps/attenuation.py PREFIX [rho=5 updates=90 seed=0]
"""

import sys
import time
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import load, settings
from torch import Tensor, nn

from vagan.axes import concatenate_batches
from vagan.data.cohort import Cohort, write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import CohortCase, CohortMetadata
from vagan.effect import baseline_image
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.training import objectives
from vagan.training.config import load_config
from vagan.training.steps import step, update_generator
from vagan.training.tasks.adversarial import AdversarialTask

IMAGES = 1200
"""Of each class, with repetitions, from which components are estimated."""
NETWORKS = {"critic.patch_size": 2, "critic.width": 32, "critic.max_width": 128, "generator.width": 8}
AT_5_MM = {"augmentation.translation": 0.5, "augmentation.elastic": 0.4, "training.batch_size": 8}


class Attenuated(nn.Module):
    """A critic of images whose largest components are attenuated."""

    def __init__(self, critic: nn.Module, components: Tensor, share: Tensor) -> None:
        super().__init__()
        self.critic, self.components, self.share = critic, components, share

    def seen(self, images: Tensor) -> Tensor:
        """What the critic sees of images."""
        flat = images.flatten(1)
        return (flat - (flat @ self.components * self.share) @ self.components.T).reshape(images.shape)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of images."""
        return self.critic(self.seen(images))


def components_of(task: AdversarialTask, rho: float) -> tuple[Tensor, Tensor]:
    """Components ``(voxel, component)`` of more variance than ``rho``, and the share of each that is taken away."""
    batches = [task.load(number)[0] for number in range(ceil(IMAGES / len(task.load(0)[0].source)))]
    classes = [
        torch.cat(images).flatten(1) for images in zip(*((one.source, one.target) for one in batches), strict=True)
    ]
    about_mean = torch.cat([images - images.mean(0) for images in classes])
    variances, directions = torch.linalg.eigh(about_mean @ about_mean.T / len(about_mean))
    chosen = variances > rho
    variances = variances[chosen]
    return about_mean.T @ directions[:, chosen] / (variances * len(about_mean)).sqrt(), 1 - (rho / variances).sqrt()


def critic_terms(critic: Attenuated, generator: nn.Module, batch, loss, output) -> objectives.Terms:
    """`objectives.critic_terms` of what the critic sees."""
    with torch.no_grad():
        target = critic.seen(batch.target)
        generated = critic.seen(baseline_image(batch.source, generator(batch.source), output))
    scores = critic.critic(concatenate_batches(target, generated))
    distance = -objectives.critic_loss(*scores.split([len(target), len(generated)]))
    count = ceil(loss.penalty_share * len(batch.fractions))
    points = objectives.interpolate(target[:count], generated[:count], batch.fractions[:count])
    penalty, slope = objectives.gradient_penalty(critic.critic, points, loss.constraint)
    return {"critic/wasserstein": distance, "critic/penalty": penalty, "critic/slope": slope}


def cohort_of(prefix: str, folder: Path) -> Cohort:
    """The arrays as a cohort of 5.2 mm."""
    data = load(prefix)
    table = data.table[["id", "subject", "label", "split", "severity", "subtype"]].assign(session=data.table["visit"])
    table["class"] = np.where(table["label"] == 1, "atrophy", "baseline")

    def case_at(row: int) -> CohortCase:
        return CohortCase(data.images[row].float().numpy(), data.effects[row].float().numpy())

    metadata = CohortMetadata(source=prefix, preparation=Preparation(), spacing_mm=(5.2, 5.2, 5.2))
    return write_cohort(folder, Manifest(table.astype({"session": str})), metadata, case_at)


def main() -> None:
    prefix = sys.argv[1]
    _, get = settings(sys.argv[2:])
    rho, updates = get("rho", 5.0), get("updates", 90)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        cohort = cohort_of(prefix, Path(folder) / "cohort")
        more = {
            "training.generator_updates": updates,
            "training.seed": get("seed", 0),
            "training.validation_images": 32,
        }
        config = load_config("brain", {**NETWORKS, **AT_5_MM, **more})
        loss, output, begin = config.loss.at(cohort.shape), config.generator.output, time.time()
        task = AdversarialTask(config, cohort, monitor=mean_ncc)
        state = task.build()
        generator, average = state.networks["generator"], state.networks["average"]
        empty = torch.zeros(int(np.prod(cohort.shape)), 0), torch.zeros(0)
        critic = Attenuated(state.networks["critic"], *(components_of(task, rho) if rho else empty))
        print(f"{len(critic.share)} components are attenuated", flush=True)
        while state.updates < task.total:
            batches = task.load(state.updates)
            state.set_learning_rates(task.lr_factor)
            if task.should_log(state.updates + 1):
                common = {"loss": loss, "settings": config.generator, "backward": Tensor.backward}
                update_generator(critic, generator, state.optimizers["generator"], batches, **common)
                average.update_parameters(generator)
            else:
                generator.eval()
                terms = partial(critic_terms, critic, generator, loss=loss, output=output)
                step(state.optimizers["critic"], batches, terms, objectives.critic_weights(loss), Tensor.backward)
            state.updates += 1
            if task.should_log(state.updates) and task.should_validate(state.updates):
                found = task.validate(state)
                shown = {
                    name: round(found[name], 3) for name in ("monitor/ncc", "validation/baseline_response_ratio")
                }
                print(f"{state.updates} updates, {time.time() - begin:.0f} s: {shown}", flush=True)


if __name__ == "__main__":
    main()
