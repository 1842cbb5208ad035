"""Adversarial training against a linear critic, whose optimum is known in closed form.

Linear critics of bounded variance are Fisher's discriminant (Fisher GAN, Mroueh and Sercu, NeurIPS 2017). Against it,
one velocity for all, the mean effect, is fitted by generalised least squares. Training uses no known effects;
validation scores do. Reports how well the critic separates *validation* patients from healthy scans before and after
removal of the effect.

    python benchmarks/individual_maps/linear.py PREFIX OUT [align=ALIGNMENT ridge=0.1,1 sparsity=0.06 ...]
"""

import sys
import time
from functools import partial

import torch
from align import Aligner, inverse
from common import displacement, load, mirrored_velocity, roughness, settings, show, smoothed, warp
from scores import evaluated

from vagan.axes import block_means, central_differences, identity_grid, sample_linear


def class_covariance(x0, x1, keep):
    """Leading principal axes and variances of scans and mirrored scans about their class mean."""
    both = torch.cat([x0 - x0.mean(0), x1 - x1.mean(0)])
    both = torch.cat([both, both.flip(2)]).flatten(1)
    gram = both @ both.T / len(both)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[-keep:], vectors[:, -keep:]
    axes = both.T @ vectors / (values * len(both)).sqrt()
    rest = (gram.trace() - values.sum()) / (both.shape[1] - keep)
    return axes, values, float(rest)


def whitener(axes, values, ridge):
    """Product with the inverse of the covariance plus ``ridge`` times the identity."""
    factors = values / (values + ridge)
    return lambda r: (r - axes @ (factors * (axes.T @ r))) / ridge


def symmetric(image):
    """Mean of an image and its mirror image."""
    return (image + image.flip(2)) / 2


class Space:
    """The template's space, from a file of `align`."""

    def __init__(self, path: str) -> None:
        held = torch.load(path)
        options = held["settings"]
        self.aligner = Aligner(
            held["template"],
            every=int(options.get("nodes", 6)),
            stiffness=float(options.get("stiffness", 3.0)),
            size=float(options.get("size", 0.05)),
        )
        self.fields = held["fields"]

    def aligned(self, images):
        """All images of the cohort, aligned."""
        return torch.cat([
            sample_linear(part, identity_grid(part) + field.float(), outside="border")
            for part, field in zip(images.split(64), self.fields.split(64), strict=True)
        ])  # fmt: skip


def in_scans(velocity, space, images):
    """Velocities in the template's space, one or one for each image, resampled at the voxels of each image."""
    velocity = velocity.expand(len(images), -1, -1, -1, -1)
    if space is None:
        return velocity
    if images.shape[2:] != velocity.shape[2:]:
        images = block_means(images, 2)
    back = inverse(space.aligner(images))
    return sample_linear(velocity, identity_grid(velocity) + back, outside="border")


def main() -> None:
    prefix, out = sys.argv[1:3]
    given, get = settings(sys.argv[3:])
    torch.set_num_threads(1)
    data = load(prefix)
    space = Space(given["align"]) if "align" in given else None
    images = space.aligned(data.images) if space else data.images
    parts = {(s, k): images[data.rows(s, k)] for s in ("train", "validation") for k in (0, 1)}
    x0, x1 = parts["train", 0], parts["train", 1]
    begin = time.time()
    axes, values, rest = class_covariance(x0, x1, get("keep", 400))
    print(
        f"covariance {time.time() - begin:.0f}s, largest {values[-1]:.1f}, smallest kept {values[0]:.4f}, "
        f"rest {rest:.5f}",
        flush=True,
    )
    healthy = symmetric(x0.mean(0, keepdim=True))
    count = 1 / (1 / len(x0) + 1 / len(x1))
    for ridge in (float(s) for s in given.get("ridge", "0.1").split(",")):
        whiten = whitener(axes, values, ridge)
        for sparsity in (float(p) for p in given.get("sparsity", "0.02").split(",")):
            velocity = torch.zeros(1, 3, 32, 40, 28)
            for _ in range(get("rounds", 3)):
                u = displacement(velocity)
                counterfactuals = torch.cat([warp(part, u) for part in x1.split(64)])
                left = symmetric(counterfactuals.mean(0, keepdim=True)) - healthy
                slopes = torch.cat(central_differences(symmetric(counterfactuals.mean(0, keepdim=True))), 1)
                base, change = velocity.clone(), torch.zeros_like(velocity, requires_grad=True)
                adam = torch.optim.Adam([change], lr=0.02)
                steps = get("steps", 150)
                for step in range(steps):
                    adam.param_groups[0]["lr"] = 0.02 * (1 - step / steps) + 5e-4
                    whole = smoothed(base + change)
                    whole = (whole + mirrored_velocity(whole)) / 2
                    r = left + (slopes * (whole - velocity)).sum(1, keepdim=True)
                    flat = r.flatten()
                    misfit = count * (flat @ whiten(flat))
                    prior = (
                        get("smoothness", 400.0) * roughness(whole) * whole.numel() / 3
                        + sparsity * (whole.square().sum(1) + 1e-6).sqrt().sum() * 10
                    )
                    adam.zero_grad(), (misfit + prior).backward(), adam.step()
                velocity = whole.detach()
            u = displacement(velocity)
            tests = {
                "before": parts["validation", 1],
                "after": torch.cat([warp(p, u) for p in parts["validation", 1].split(64)]),
            }
            difference = (x1.mean(0) - x0.mean(0)).flatten()
            first = whiten(difference)
            s0 = parts["validation", 0].flatten(1) @ first
            aucs = {
                name: float(((x.flatten(1) @ first)[:, None] > s0[None]).float().mean()) for name, x in tests.items()
            }
            torch.save({"mean": velocity, "align": given.get("align", "")}, f"{out}.{ridge}.{sparsity}.pt")
            show(
                f"ridge {ridge} sparsity {sparsity} {time.time() - begin:.0f}s "
                f"misfit {float(misfit):.1f} of {count * float(difference @ first):.0f} "
                f"|v| {float(velocity.abs().mean()):.4f} held-out AUC {aucs['before']:.3f} -> {aucs['after']:.3f}",
                evaluated(partial(in_scans, velocity, space), data, "validation", limit=32),
            )


if __name__ == "__main__":
    main()
