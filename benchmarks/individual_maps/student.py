"""Graded effect transfer into a U-Net.

Healthy scans get a random multiple of the template's effect, varying smoothly in space, in random poses and shapes;
the network learns the velocity that removes it, by squared error.

    python benchmarks/individual_maps/student.py PREFIX TEMPLATE OUT [key=value ...]
"""

import sys
import time

import numpy as np
import torch
from align import inverse
from common import (
    LAYOUT,
    RandomPoses,
    VelocityNet,
    displacement,
    draw,
    finer,
    load,
    mirrored_velocity,
    sample_linear,
    settings,
    show,
    warp,
)  # fmt: skip
from scipy.ndimage import gaussian_filter
from scores import evaluated
from supervised import recalibrated

from vagan.axes import identity_grid, resize_linear
from vagan.constants import BACKGROUND


class Gains:
    """Random multiples of the template's effect, smooth in space and nearly symmetric."""

    def __init__(
        self, rng: np.random.Generator, *, none: float = 0.3, low=0.0, high=2.0, spread=0.5, sides=0.15, smooth=2.0
    ) -> None:
        self.rng, self.none, self.low, self.high, self.spread, self.sides = rng, none, low, high, spread, sides
        white = rng.standard_normal((300, 16 + 8, 20 + 8, 14 + 8)).astype(np.float32)
        # in voxels of 10.4 mm: a standard deviation of 21 mm
        fields = gaussian_filter(white, (0, smooth, smooth, smooth))[:, 4:-4, 4:-4, 4:-4]
        self.fields = torch.from_numpy(fields / fields.std())[:, None]

    def __call__(self, count: int) -> torch.Tensor:
        """Gains of ``count`` images."""
        rng = self.rng
        one, two = (self.fields[rng.integers(len(self.fields), size=count)] for _ in range(2))
        both = (one + one.flip(2)) / 2**0.5
        field = torch.exp(self.spread * both + self.sides * two)
        s = rng.uniform(self.low, self.high, count) * (rng.random(count) >= self.none)
        return resize_linear(field * torch.from_numpy(s).float()[:, None, None, None, None], (32, 40, 28))


def transferred(images, velocity, augment):
    """Images with an effect, in another pose and shape, by *one* interpolation; and the velocity that removes it."""
    flip = torch.from_numpy(augment.rng.random(len(images)) < 0.5)[:, None, None, None, None]
    images = torch.where(flip, images.flip(2), images)
    velocity = torch.where(flip, mirrored_velocity(velocity), velocity)
    coordinates = augment.coordinates(len(images))
    turned = sample_linear(velocity, coordinates, outside="border")
    moved = displacement(-velocity)
    ratio = images.shape[2] // velocity.shape[2]
    if ratio > 1:  # the same poses and shapes on a finer grid
        own, shape = identity_grid(velocity), images.shape[2:]
        fine = identity_grid(images[:1]) + ratio * resize_linear(coordinates - own, shape)
        moved = ratio * sample_linear(moved, (fine + 0.5) / ratio - 0.5, outside="border")
        coordinates = fine
    else:
        moved = sample_linear(moved, coordinates, outside="border")
    return sample_linear(images - BACKGROUND, coordinates + moved, outside="zeros") + BACKGROUND, turned


class InScans:
    """The template's velocity resampled at the voxels of scans of the cohort, whose alignment is known, by row."""

    def __init__(self, velocity, path: str) -> None:
        self.velocity, self.fields = velocity, torch.load(path)["fields"] if path else None

    def __call__(self, rows):
        """Velocities of these scans."""
        several = self.velocity.expand(len(rows), -1, -1, -1, -1)
        if self.fields is None:
            return several
        back = inverse(self.fields[rows].float(), 3)
        return sample_linear(several, identity_grid(several) + back, outside="border")


def amplitude(data, in_scans, rounds=2) -> float:
    """Factor by which velocities account best for the difference of the groups' mean training images; no truth."""
    rows = data.rows("train", 1)
    x1, x0 = data.images[rows], data.images[data.rows("train", 0)]
    seen = x1.mean(0) - x0.mean(0)
    seen, factor = (seen + seen.flip(1)) / 2, 1.0
    for _ in range(rounds):
        parts = zip(x1.split(64), np.split(rows, range(64, len(rows), 64)), strict=True)
        shown = torch.cat([part - warp(part, displacement(in_scans(some) * factor)) for part, some in parts]).mean(0)
        factor *= float(((seen * shown).sum() / shown.square().sum()).clamp(0.5, 2))
    print(f"amplitude without truth {factor:.2f}", flush=True)
    return factor


def main() -> None:
    prefix, template_file, out = sys.argv[1:4]
    given, get = settings(sys.argv[4:])
    torch.set_num_threads(1), torch.manual_seed(get("seed", 0))
    rng = np.random.default_rng(get("seed", 0))
    fine = get("fine", 0)
    data = load(prefix, fine=bool(fine))
    held = torch.load(template_file)
    path = held.get("align", "") if isinstance(held, dict) else ""
    template = (held["mean"] if isinstance(held, dict) else held) * (get("strength", 0.0) or 1.0)
    if not get("strength", 0.0):  # at 5.2 mm
        template = template * amplitude(load(prefix) if fine else data, InScans(template, path))
    in_scans = InScans(template, path)
    net = VelocityNet(get("width", 16), edge=4 if fine else 2).to(memory_format=LAYOUT)
    if "init" in given:
        state = torch.load(given["init"])
        net.load_state_dict(finer(state) if fine else state)
    augment = RandomPoses(
        (32, 40, 28),
        rng,
        rotation=get("rotation", 3.0),
        translation=get("translation", 0.7),
        elastic=get("elastic", 0.7),
    )
    gains = Gains(rng, none=get("none", 0.3), spread=get("spread", 0.5))
    lr, batch, updates = get("lr", 2e-3), get("batch", 12), get("updates", 300)
    adam = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-4)
    tr0, losses, begin = data.rows("train", 0), [], time.time()
    scale = template.square().mean()
    for update in range(updates):
        adam.param_groups[0]["lr"] = lr * min(1, (update + 1) / 20) * 0.5 * (1 + np.cos(np.pi * update / updates))
        with torch.no_grad():
            rows = draw(tr0, batch, rng)
            x, v = transferred(data.images[rows].float(), gains(batch) * in_scans(rows), augment)
        net.train()
        loss = (net(x) - v).square().mean() / scale
        adam.zero_grad(), loss.backward(), adam.step()
        losses.append(float(loss.detach()))
        if (update + 1) % get("every", 100) == 0 or update + 1 == updates:
            recalibrated(net, data, rng, 32)
            torch.save(net.state_dict(), out)
            show(
                f"{update + 1} {time.time() - begin:.0f}s loss {np.mean(losses[-50:]):.3f}",
                evaluated(net, data, "validation", limit=get("limit", 64)),
            )


if __name__ == "__main__":
    main()
