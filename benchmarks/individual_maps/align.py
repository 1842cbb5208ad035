"""Smooth alignment of every scan to the healthy mean by inverse-compositional Gauss-Newton.

The gradient of the mean image serves all iterations, so the normal matrix is factorised once (Baker and Matthews,
IJCV 2004). Removes pose and low-frequency anatomy and keeps atrophy.

    python benchmarks/individual_maps/align.py PREFIX OUT [nodes=6 stiffness=3 rounds=8 ...]
"""

import sys
import time

import numpy as np
import torch
from common import load, sample_linear, settings

from vagan.axes import central_differences, identity_grid, resize_linear


class Aligner:
    """Aligns scans to a template by displacements on a coarse grid of nodes."""

    def __init__(self, template, *, every: int = 6, stiffness: float = 3.0, size: float = 0.05) -> None:
        self.template = template
        self.shape = template.shape[2:]
        self.nodes = [n // every + 1 for n in self.shape]
        count = int(np.prod(self.nodes))
        unit = torch.eye(count).reshape(count, 1, *self.nodes)
        basis = resize_linear(unit, self.shape).reshape(count, -1)  # one row for each node
        slopes = torch.cat(central_differences(template), 1)[0].flatten(1)
        self.jacobian = torch.cat([basis * slope for slope in slopes])  # (3 count, voxels)
        rough = torch.zeros(count, count)
        for axis in (1, 2, 3):
            d = unit.reshape(count, *self.nodes).diff(dim=axis).reshape(count, -1)
            rough += d @ d.T
        penalty = torch.block_diag(*[stiffness * rough + size * torch.eye(count)] * 3)
        self.normal = self.jacobian @ self.jacobian.T + penalty
        self.penalty, self.factor, self.basis = penalty, torch.linalg.cholesky(self.normal), basis

    def field(self, parameters):
        """Displacements of all voxels from those of the nodes."""
        count = len(parameters)
        return (parameters.reshape(count * 3, -1) @ self.basis).reshape(count, 3, *self.shape)

    def __call__(self, images, rounds: int = 8):
        """Displacement from points of the template to those of each image."""
        coordinates = identity_grid(images)
        parameters = torch.zeros(len(images), len(self.penalty))
        for _ in range(rounds):
            seen = sample_linear(images, coordinates + self.field(parameters), outside="border")
            left = (self.template - seen).flatten(1)
            step = left @ self.jacobian.T - parameters @ self.penalty
            parameters = parameters + 0.8 * torch.cholesky_solve(step.T, self.factor).T
        return self.field(parameters)


def inverse(field, rounds: int = 5):
    """Displacement from points of the image to those of the template."""
    back, coordinates = -field, identity_grid(field)
    for _ in range(rounds):
        back = -sample_linear(field, coordinates + back, outside="border")
    return back


def main() -> None:
    prefix, out = sys.argv[1:3]
    given, get = settings(sys.argv[3:])
    torch.set_num_threads(1)
    data = load(prefix)
    tr0 = data.rows("train", 0)
    template = data.images[tr0].mean(0, keepdim=True)
    template = (template + template.flip(2)) / 2
    begin, few = time.time(), data.images[tr0[:96]]
    for turn in range(get("turns", 2)):
        aligner = Aligner(template, every=get("nodes", 6), stiffness=get("stiffness", 3.0), size=get("size", 0.05))
        moved = torch.cat([aligner(part, get("rounds", 8)) for part in few.split(32)])
        aligned = sample_linear(few, identity_grid(few) + moved, outside="border")
        left = (few - template).square().mean(), (aligned - template).square().mean()
        print(
            f"turn {turn} {time.time() - begin:.0f}s mean square {left[0]:.4f} -> {left[1]:.4f}, "
            f"standard deviation of displacements {moved.std():.3f} voxels",
            flush=True,
        )
        template = aligned.mean(0, keepdim=True)
        template = (template + template.flip(2)) / 2
    fields = torch.cat([aligner(part, get("rounds", 8)) for part in data.images.split(32)])
    torch.save({"template": template, "fields": fields.half(), "settings": given}, out)
    print(f"all {time.time() - begin:.0f}s", flush=True)


if __name__ == "__main__":
    main()
