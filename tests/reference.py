"""Slow, obvious versions of what the package computes fast."""

import numpy as np
import torch


def penalty_by_sample(critic, images, *, one_sided=False):
    """Gradient penalty with one backward pass for each image."""
    values = []
    for image in images:
        point = image[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(point).sum(), point)
        excess = float((gradient.double() ** 2).sum() ** 0.5) - 1
        values.append(max(excess, 0) ** 2 if one_sided else excess**2)
    return np.mean(values)


def one_axis_penalty_by_column(critic, images):
    """The authors' penalty: a norm along the first image axis for every other position, by loops."""
    values = []
    for image in images:
        point = image[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(point).sum(), point)
        lines = gradient[0, 0].double().numpy()
        for index in np.ndindex(lines.shape[1:]):
            line = lines[(slice(None), *index)]
            values.append((np.sqrt(sum(value**2 for value in line)) - 1) ** 2)
    return np.mean(values)
