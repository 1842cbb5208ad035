"""Adversarial training at 5.2 mm: one velocity for all in template space, with or without a U-Net's correction.

The critic sees both classes in random poses and gets many updates for each update of the velocity.

    python benchmarks/individual_maps/adversarial.py PREFIX OUT [key=value ...]
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
    draw,
    load,
    mirrored_velocity,
    roughness,
    settings,
    show,
    smoothed,
    without_class,
)  # fmt: skip
from probe import critic_objective
from scores import evaluated
from torch import nn


class TemplateVelocity(nn.Module):
    """One velocity for all in template space, plus a network's correction for each image if ``width`` is not 0."""

    def __init__(self, width: int = 0) -> None:
        super().__init__()
        self.velocity = nn.Parameter(torch.zeros(1, 3, 32, 40, 28))
        self.net = VelocityNet(width).to(memory_format=LAYOUT) if width else None

    def template(self):
        """The velocity for all, symmetric and smooth."""
        return smoothed((self.velocity + mirrored_velocity(self.velocity)) / 2, 1)

    def forward(self, images):
        """Velocities of images."""
        velocity = self.template().expand(len(images), -1, -1, -1, -1)
        return velocity if self.net is None else velocity + self.net(images)


def constant(velocity, images):
    """The same velocity for all images."""
    return velocity.expand(len(images), -1, -1, -1, -1)


class SmoothDescent:
    """Momentum along the smoothed gradient, normalised by its root mean square so as not to amplify noise."""

    def __init__(self, parameter, *, momentum: float = 0.8, smoothing: int = 2) -> None:
        self.parameter, self.momentum, self.smoothing = parameter, momentum, smoothing
        self.mean = torch.zeros_like(parameter)

    def step(self, rate: float) -> None:
        """Update the parameter."""
        slope = smoothed(self.parameter.grad, self.smoothing)
        self.mean = self.momentum * self.mean + (1 - self.momentum) * slope / (slope.square().mean().sqrt() + 1e-20)
        with torch.no_grad():
            self.parameter -= rate * self.mean
        self.parameter.grad = None


def main() -> None:  # noqa: PLR0915
    prefix, out = sys.argv[1:3]
    _, get = settings(sys.argv[3:])
    torch.set_num_threads(1), torch.manual_seed(get("seed", 0))
    rng = np.random.default_rng(get("seed", 0))
    data = load(prefix)
    tr1, tr0 = data.rows("train", 1), data.rows("train", 0)
    if get("permute", 0):
        both = rng.permutation(np.concatenate([tr1, tr0]))
        tr1, tr0 = both[: len(tr1)], both[len(tr1) :]
    template_velocity = TemplateVelocity(get("net", 0))
    critic = BlockCritic(get("width", 16), head=get("head", "position-aware")).to(memory_format=LAYOUT)
    betas = (0.0, 0.9) if get("loss", "wgan") == "wgan" else (0.0, 0.99)
    critic_adam = torch.optim.Adam(critic.parameters(), lr=get("lr", 3e-4), betas=betas)
    descent = SmoothDescent(template_velocity.velocity)
    net, net_adam = template_velocity.net, None
    if net is not None:
        net_adam = torch.optim.Adam(net.parameters(), lr=get("net_lr", 4e-4), betas=(0.5, 0.99))
    augment = RandomPoses((32, 40, 28), rng, elastic=get("elastic", 0.4))
    updates, many, batch = get("updates", 100), get("critic", 20), get("batch", 12)
    rate, smoothness_weight, displacement_weight = (
        get("rate", 0.02),
        get("smoothness", 20.0),
        get("displacement", 0.0),
    )
    pool = data.images[draw(tr1, 96, rng)].clone()  # generated images, the oldest replaced first
    oldest, mean, begin, shown = 0, template_velocity.template().detach() * 0, time.time(), []
    for update in range(updates):
        for _ in range(get("first", 150) if update == 0 else many):
            (real,) = augment(data.images[draw(tr0, batch, rng)])
            (fake,) = augment(pool[rng.choice(len(pool), batch, replace=False)])
            value, term, norm = critic_objective(
                critic,
                real,
                fake,
                loss=get("loss", "wgan"),
                gamma=get("gamma", 10.0),
                share=get("share", 0.25),
                rng=rng,
            )
            critic_adam.zero_grad(), value.backward(), critic_adam.step()
            shown.append((float(term), float(norm)))
        count = get("patients", 24)
        x = data.images[draw(tr1, count, rng)]
        critic.requires_grad_(False)
        velocity = template_velocity(x)
        generated = without_class(x, velocity)
        (seen,) = augment(generated)
        if get("loss", "wgan") == "wgan":
            adversarial = -critic(seen).mean()
        else:
            with torch.no_grad():
                real = critic(augment(data.images[draw(tr0, count, rng)])[0])
            adversarial = torch.nn.functional.softplus(real - critic(seen)).mean()
        total = adversarial + smoothness_weight * roughness(velocity) + displacement_weight * velocity.abs().mean()
        total.backward()
        critic.requires_grad_(True)
        decay = min(1.0, 2 * (1 - update / updates))
        descent.step(rate * decay)
        if net_adam:
            net_adam.param_groups[0]["lr"] = get("net_lr", 4e-4) * decay
            net_adam.step(), net_adam.zero_grad()
        with torch.no_grad():
            mean = mean + (template_velocity.template() - mean) / min(update + 1, get("average", 20))
            pool[oldest : oldest + count] = generated.detach()[: len(pool) - oldest]
            oldest = (oldest + count) % len(pool)
        if (update + 1) % get("every", 20) == 0 or update + 1 == updates:
            torch.save({"mean": mean, "critic": critic.state_dict()}, out)
            used = template_velocity.eval() if get("net", 0) else partial(constant, mean)
            found = evaluated(used, data, "validation", limit=32)
            template_velocity.train()
            show(
                f"{update + 1} {time.time() - begin:.0f}s critic {np.mean(shown[-100:], 0).round(3)} "
                f"roughness {float(roughness(velocity)):.5f} |v| {float(mean.abs().mean()):.4f}",
                found,
            )


if __name__ == "__main__":
    main()
