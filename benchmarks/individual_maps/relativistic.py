"""Adversarial training at 5.2 mm: a U-Net's velocity for every voxel, against a relativistic critic with R1 and R2.

What the critic sees of either class has been interpolated exactly once, so blur does not tell them apart; it sees
images smoothed by a binomial filter. The U-Net is told to leave healthy scans as they are, and velocities are
penalised less and less: only strong effects at first, faint ones later. Scores are of its running average.

    python benchmarks/individual_maps/relativistic.py PREFIX OUT [key=value ...]
"""

import sys
import time
from functools import partial

import numpy as np
import torch
from common import (
    LAYOUT,
    BlockCritic,
    RandomPoses,
    VelocityNet,
    displacement,
    draw,
    load,
    roughness,
    settings,
    show,
    smoothed,
)
from probe import critic_objective
from scores import evaluated
from supervised import recalibrated
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vagan.axes import identity_grid, sample_linear
from vagan.constants import BACKGROUND

KEPT = 96
"""Generated scans that the critic learns from."""


def sampled(scans, coordinates):
    """Values of scans at coordinates, background beyond the border."""
    return sample_linear(scans - BACKGROUND, coordinates, outside="zeros") + BACKGROUND


def posed(scans, augment):
    """Scans of which half are mirrored, coordinates of random poses, and the scans in these poses."""
    flip = torch.from_numpy(augment.rng.random(len(scans)) < 0.5)[:, None, None, None, None]
    scans, coordinates = torch.where(flip, scans.flip(2), scans), augment.coordinates(len(scans))
    return scans, coordinates, sampled(scans, coordinates)


def deformed(scans, coordinates, moved):
    """Scans in their poses and deformed, by one interpolation."""
    there = identity_grid(moved) + moved
    return sampled(scans, sample_linear(coordinates, there, outside="border"))


class Generated:
    """The last scans that the generator has changed, the oldest replaced first; at first patients' own scans."""

    def __init__(self, scans, coordinates) -> None:
        self.parts, self.oldest = (scans, coordinates, torch.zeros_like(coordinates)), 0

    def drawn(self, count, rng):
        """Random ones of these scans, changed."""
        chosen = torch.from_numpy(rng.choice(KEPT, count, replace=False))
        return deformed(*(part[chosen] for part in self.parts))

    def add(self, *new) -> None:
        """Scans, coordinates of their poses, and displacements."""
        places = torch.arange(self.oldest, self.oldest + len(new[0])) % KEPT
        for part, one in zip(self.parts, new, strict=True):
            part[places] = one
        self.oldest = (self.oldest + len(new[0])) % KEPT


def update_critic(score, adam, scans, generated, *, augment, objective, count):
    """One update; the loss without penalty, and the mean norm of the slopes."""
    fake = generated.drawn(count, augment.rng)
    _, _, real = posed(scans[draw(np.arange(len(scans)), count, augment.rng)], augment)
    value, term, norm = objective(score, real, fake, rng=augment.rng)
    adam.zero_grad(), value.backward(), adam.step()
    return float(term), float(norm)


def main() -> None:
    prefix, out = sys.argv[1:3]
    _, get = settings(sys.argv[3:])
    torch.set_num_threads(1), torch.manual_seed(get("seed", 0))
    rng = np.random.default_rng(get("seed", 0))
    data = load(prefix)
    ill, healthy = (data.images[data.rows("train", label)] for label in (1, 0))
    net, critic = (
        VelocityNet(get("width", 16)).to(memory_format=LAYOUT),
        BlockCritic(get("critic_width", 16)),
    )
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(get("ema", 0.99)))
    rate, updates, batch = get("lr", 5e-4), get("updates", 800), get("batch", 8)
    critic_adam = torch.optim.Adam(critic.parameters(), lr=get("critic_lr", 1e-3), betas=(0.0, 0.99))
    adam = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.0, 0.99))
    augment = RandomPoses((32, 40, 28), rng, elastic=get("elastic", 0.4))
    generated = Generated(*posed(ill[draw(np.arange(len(ill)), KEPT, rng)], augment)[:2])
    objective = partial(critic_objective, loss="relativistic", gamma=get("gamma", 3.0), share=1.0)
    common = {"augment": augment, "objective": objective, "count": get("critic_batch", 12)}
    begin, shown, terms = time.time(), [], []

    def score(images):
        return critic(smoothed(images, get("blur", 1)))

    for update in range(updates):
        adam.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - update / updates))
        for _ in range(get("critic", 3) if update else get("first", 400)):
            shown.append(update_critic(score, critic_adam, healthy, generated, **common))
        critic.requires_grad_(False)
        both = torch.cat([part[draw(np.arange(len(part)), batch, rng)] for part in (ill, healthy)])
        scans, coordinates, x = posed(both, augment)
        velocity = net.train()(x)
        moved = displacement(velocity[:batch])
        with torch.no_grad():
            real = score(x[batch:])
        parts = [
            softplus(real - score(deformed(scans[:batch], coordinates[:batch], moved))).mean(),
            get("identity", 10.0) * velocity[batch:].square().mean(),
            get("size", 4.0) * get("size_falls", 0.125) ** (update / updates) * velocity.abs().mean(),
            get("smoothness", 20.0) * roughness(velocity),
        ]
        adam.zero_grad(), sum(parts).backward(), adam.step()
        critic.requires_grad_(True)
        average.update_parameters(net)
        terms.append([float(part.detach()) for part in parts])
        generated.add(scans[:batch], coordinates[:batch], moved.detach())
        if (update + 1) % get("every", 100) == 0 or update + 1 == updates:
            recalibrated(average.module, data, rng, 32)
            torch.save({"net": average.module.state_dict(), "critic": critic.state_dict()}, out)
            means = np.mean(shown[-100:], 0).round(3), np.mean(terms[-50:], 0).round(4)
            print(f"{update + 1} {time.time() - begin:.0f}s critic {means[0]} terms {means[1]}", flush=True)
            show("validation", evaluated(average.module, data, "validation", limit=get("limit", 64)))
    show("test", evaluated(average.module, data, "test"))


if __name__ == "__main__":
    main()
