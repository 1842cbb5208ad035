"""A small diffusion model of both classes whose counterfactuals `rivals.py` compares with those of VA-GAN.

An image is encoded by the deterministic inverse of DDIM up to half of the noise, and decoded again with guidance
towards the baseline class (Wolleb et al. 2022; Sanchez et al. 2022, whose implicit guidance needs no classifier of
noisy images: the difference between the network's predictions with and without the class). Network and schedules are
those of the library diffusers.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.nn.functional import mse_loss, pad
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vagan.attribution.method import Covariates
from vagan.constants import BACKGROUND, RANGE
from vagan.data.cohort import Cohort
from vagan.effect import effect_map
from vagan.progress import Bar
from vagan.seeding import numpy_generator
from vagan.types import Images, Maps

BASELINE, NO_CLASS, CLASSES = 0, 2, 3
"""Numbers by which the network is told the class of an image: 1 is that of interest."""
MULTIPLE = 8
"""Images are padded to a multiple of this, as the network halves them three times."""
NOISE_STEPS = 1000
SCHEDULE = {"num_train_timesteps": NOISE_STEPS, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True}
DROPPED_CLASS = 0.2
BATCH = 64
LEARNING_RATE = 5e-4
RECORD = "training.json"


def train_diffusion(cohort: Cohort, folder: Path, *, updates: int, seed: int) -> float:
    """Train on the training images of a cohort and keep the averaged network in a folder; returns the seconds.

    A folder that holds one already is left as it is.
    """
    if (folder / RECORD).is_file():
        return float(json.loads((folder / RECORD).read_text())["seconds"])
    torch.manual_seed(seed)
    network = UNet2DModel(
        sample_size=[-(-extent // MULTIPLE) * MULTIPLE for extent in cohort.shape],
        in_channels=cohort.channels,
        out_channels=cohort.channels,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        num_class_embeds=CLASSES,
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, updates)
    noise_of, random = DDPMScheduler(**SCHEDULE), numpy_generator(seed, "diffusion")
    rows = np.concatenate([cohort.manifest.indices("train", label) for label in (0, 1)])
    labels = torch.from_numpy(cohort.manifest.table["label"].to_numpy().copy())
    begin = time.perf_counter()
    with Bar(updates, "training diffusion") as bar:
        for _ in range(updates):
            chosen = random.choice(rows, BATCH)
            images = _padded(cohort.images(chosen))
            told = torch.where(torch.rand(BATCH) < DROPPED_CLASS, NO_CLASS, labels[chosen])
            steps, noise = torch.randint(NOISE_STEPS, (BATCH,)), torch.randn_like(images)
            with torch.autocast("cpu", torch.bfloat16):
                found = network(noise_of.add_noise(images, noise, steps), steps, class_labels=told).sample
            adam.zero_grad()
            mse_loss(found.float(), noise).backward()
            adam.step(), decay.step()
            average.update_parameters(network)
            bar.advance()
    seconds = time.perf_counter() - begin
    average.module.save_pretrained(folder)
    (folder / RECORD).write_text(json.dumps({"seconds": seconds, "updates": updates, "seed": seed}))
    return seconds


class DiffusionCounterfactual:
    """Guided diffusion as an attribution method: the image minus its counterfactual."""

    name = "guided diffusion"
    unit = "intensity"
    convention = "signed"

    def __init__(self, folder: Path, *, steps: int = 50, depth: float = 0.5, guidance: float = 3.0) -> None:
        self._network = UNet2DModel.from_pretrained(folder, low_cpu_mem_usage=False).eval()
        self._steps, self._used, self._guidance = steps, round(steps * depth), guidance
        self.cost = 3 * self._used

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:  # noqa: ARG002
        """``(batch, channel, height, width)``, as of any method."""
        return effect_map(images, self.counterfactual(images))

    @torch.no_grad()
    def counterfactual(self, images: Images) -> Images:
        """Encode without a class, decode as of the baseline class; of the same shape, within the range of images."""
        noisy, forwards, backwards = _padded(images), DDIMInverseScheduler(**SCHEDULE), DDIMScheduler(**SCHEDULE)
        forwards.set_timesteps(self._steps), backwards.set_timesteps(self._steps)
        for step in forwards.timesteps[1 : self._used + 1]:
            noisy = forwards.step(self._noise(noisy, step, NO_CLASS), step, noisy).prev_sample
        for step in backwards.timesteps[-self._used - 1 : -1]:
            without = self._noise(noisy, step, NO_CLASS)
            guided = without + self._guidance * (self._noise(noisy, step, BASELINE) - without)
            noisy = backwards.step(guided, step, noisy).prev_sample
        height, width = images.shape[-2:]
        return noisy[..., :height, :width].clamp(*RANGE)

    def _noise(self, images: Images, step: Tensor, told: int) -> Tensor:
        return self._network(images, step, class_labels=torch.full((len(images),), told)).sample


def _padded(images: Images) -> Images:
    """With background to the right and below."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), value=BACKGROUND)
