"""The linear critic and the linear amounts on the symmetric part of aligned scans, at 2.6 or 5.2 mm.

Effects are nearly symmetric, so the mean of a scan and its mirror image holds nearly all the information in half of
the voxels, with a quarter of the work for the covariance.

    python benchmarks/individual_maps/symmetric.py PREFIX ALIGNMENT OUT [fine=1 ridge=1 sparsity=0.06 ...]
"""

import sys
import time

import numpy as np
import torch
from common import displacement, load, mirrored_velocity, roughness, sample_linear, settings, show, smoothed, warp
from linear import Space, in_scans, whitener
from scores import evaluated
from sklearn.linear_model import LogisticRegression
from student import Gains

from vagan.axes import block_means, central_differences, identity_grid, resize_linear


def symmetric_half(images):
    """Mean of each image and its mirror image, on one side."""
    return ((images + images.flip(2)) / 2)[:, :, : images.shape[2] // 2]


def upsampled(field, shape):
    """A displacement or velocity on a finer grid, in its voxels."""
    if tuple(field.shape[2:]) == tuple(shape):
        return field
    return resize_linear(field, shape) * (shape[0] / field.shape[2])


def aligned_to(images, field):
    """Scans in the template's space, whatever their resolution."""
    return sample_linear(images, identity_grid(images) + upsampled(field, images.shape[2:]), outside="border")


class SymmetricModel:
    """The mean effect against the optimal linear critic, and amounts and probability of the class of any scan."""

    def __init__(
        self,
        data,
        alignment,
        *,
        ridge=1.0,
        sparsity=0.06,
        amount_ridge=0.3,
        smoothness=100.0,
        rounds=2,
        steps=100,
        keep=400,
        seed=0,
    ) -> None:
        self.space = Space(alignment)
        begin = time.time()
        x1 = torch.cat(list(self._aligned(data, data.rows("train", 1))))
        s0 = torch.cat([symmetric_half(part) for part in self._aligned(data, data.rows("train", 0))])
        s1 = symmetric_half(x1)
        self.shape, half = x1.shape[2:], s1.shape[2:]
        print(f"aligned {time.time() - begin:.0f}s", flush=True)
        self.healthy = s0.mean(0, keepdim=True)
        centred = torch.cat([s0 - self.healthy, s1 - s1.mean(0)]).flatten(1)
        gram = centred @ centred.T / len(centred)
        values, vectors = torch.linalg.eigh(gram)
        values, vectors = values[-keep:], vectors[:, -keep:]
        axes = centred.T @ vectors / (values * len(centred)).sqrt()
        del centred
        print(
            f"covariance {time.time() - begin:.0f}s, largest {values[-1]:.2f} smallest kept {values[0]:.4f}",
            flush=True,
        )
        inverse = whitener(axes, values, ridge)
        count, velocity = 1 / (1 / len(s0) + 1 / len(s1)), torch.zeros(1, 3, 32, 40, 28)
        scale = self.shape[0] / 32
        for _ in range(rounds):
            u = displacement(velocity)
            sums = torch.cat([warp(part, u).mean(0, keepdim=True) * len(part) for part in x1.split(32)])
            mean = sums.sum(0, keepdim=True) / len(x1)
            left = symmetric_half(mean) - self.healthy
            mean = (mean + mean.flip(2)) / 2
            slopes = torch.cat(central_differences(mean), 1)[:, :, : half[0]]
            base, change = velocity.clone(), torch.zeros_like(velocity, requires_grad=True)
            adam = torch.optim.Adam([change], lr=0.02)
            for step in range(steps):
                adam.param_groups[0]["lr"] = 0.02 * (1 - step / steps) + 5e-4
                whole = smoothed(base + change)
                whole = (whole + mirrored_velocity(whole)) / 2
                r = left + (slopes * upsampled(whole - velocity, self.shape)[:, :, : half[0]]).sum(1, keepdim=True)
                flat = r.flatten()
                misfit = count * (flat @ inverse(flat)) * 2 / scale**3  # both sides; voxels of 5.2 mm
                prior = (
                    smoothness * roughness(whole) * whole.numel() / 3
                    + sparsity * (whole.square().sum(1) + 1e-6).sqrt().sum() * 10
                )
                adam.zero_grad(), (misfit + prior).backward(), adam.step()
            velocity = whole.detach()
            print(
                f"round {time.time() - begin:.0f}s misfit {float(misfit):.1f} |v| {float(velocity.abs().mean()):.4f}",
                flush=True,
            )
        self.template = velocity
        self.mean_healthy = torch.cat([self.healthy, self.healthy.flip(2)], 2)
        self._amounts(data, s1, s0, axes, values, ridge=amount_ridge, seed=seed)

    def _aligned(self, data, rows):
        for part in np.split(rows, range(32, len(rows), 32)):
            yield aligned_to(data.images[part].float(), self.space.fields[part].float())

    def _amounts(self, data, s1, s0, axes, values, *, ridge, seed) -> None:
        inverse = whitener(axes, values, ridge)
        half = s1.shape[2]
        slopes = torch.cat(central_differences(self.mean_healthy), 1)
        seen = (s1.mean(0) - s0.mean(0)).flatten()
        field = upsampled(self.template, self.shape)
        whole = -(slopes * field).sum(1)[0]
        flat = whole[:half].flatten()
        self.factor = float((flat @ seen) / (flat @ flat))  # amplitude without truth, in the template's space
        print(f"amplitude without truth {self.factor:.2f}", flush=True)
        whole = whole * self.factor
        spacing = 3
        nodes = np.meshgrid(*[np.arange(1, n, spacing) for n in (16, 40, 28)], indexing="ij")
        centers = np.stack(nodes, -1).reshape(-1, 3)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in (32, 40, 28)], indexing="ij"), -1)
        bumps = torch.from_numpy(
            np.stack([np.exp(-((grid - c) ** 2).sum(-1) / 8.0) for c in centers]).astype(np.float32)
        )
        bumps = bumps + bumps.flip(1)
        bumps = bumps / bumps.sum(0)
        coarse = torch.nn.functional.interpolate(whole[None, None], (32, 40, 28), mode="area")[0, 0]
        kept = (bumps * coarse.square()).sum((1, 2, 3)) > 1e-3 * coarse.square().sum()
        self.windows, centers = bumps[kept], centers[kept.numpy()]
        self.basis = torch.stack(
            [(resize_linear(w[None, None], self.shape)[0, 0] * whole)[:half].flatten() for w in self.windows]
        )
        sampler = Gains(np.random.default_rng(seed), none=0.0, low=0.3, high=1.7, spread=0.6, sides=0.0, smooth=1.2)
        draws = torch.cat([sampler(50)[:, 0][:, *centers.T] for _ in range(20)])
        self.middle, covariance = draws.mean(0), torch.cov(draws.T) + 1e-3 * torch.eye(len(centers))
        self.filters = torch.stack([inverse(one) for one in self.basis])
        self.solve = torch.linalg.inv(torch.linalg.inv(covariance) + self.filters @ self.basis.T)
        self.discriminant = inverse(seen)
        found = {}
        for label in (0, 1):
            rows = data.rows("validation", label)
            halves = (symmetric_half(part).flatten(1) for part in self._aligned(data, rows))
            found[label] = torch.cat([half @ self.discriminant for half in halves])
        both = torch.cat([found[1], found[0]]).numpy()[:, None]
        labels = np.repeat([1, 0], [len(found[1]), len(found[0])])
        self.scale = both.std()
        self.class_model = LogisticRegression(class_weight="balanced").fit(both / self.scale, labels)
        auc = (found[1][:, None] > found[0][None]).float().mean()
        print(f"{len(centers)} windows, AUC on validation scans {auc:.3f}", flush=True)

    def probability(self, images):
        """Probability of the class of scans."""
        return self.posterior(self.aligned_half(images))

    def aligned_half(self, images):
        """Symmetric half of aligned scans."""
        coarse = block_means(images, 2) if images.shape[2] == 64 else images
        return symmetric_half(aligned_to(images, self.space.aligner(coarse)))

    def posterior(self, half):
        """Probability of the class, from symmetric halves."""
        score = (half.flatten(1) @ self.discriminant).numpy()[:, None] / self.scale
        return torch.from_numpy(self.class_model.predict_proba(score)[:, 1]).float()

    def __call__(self, images, gate=True):
        """Velocities of scans."""
        half = self.aligned_half(images)
        residual = half.flatten(1) - self.healthy.flatten() - self.middle @ self.basis
        gains = self.middle + (residual @ self.filters.T) @ self.solve
        if gate:
            gains = gains * self.posterior(half)[:, None]
        velocity = torch.einsum("nk,kxyz->nxyz", gains, self.windows)[:, None] * self.template * self.factor
        return in_scans(velocity, self.space, images)


def main() -> None:
    prefix, alignment, out = sys.argv[1:4]
    given, _ = settings(sys.argv[4:])
    fine = bool(int(given.pop("fine", 1)))
    torch.set_num_threads(1)
    data = load(prefix, fine=fine)
    real = ("ridge", "sparsity", "amount_ridge", "smoothness")
    options = {key: float(value) if key in real else int(value) for key, value in given.items()}
    model = SymmetricModel(data, alignment, **options)
    torch.save(model, out)
    torch.save({"mean": model.template * model.factor, "align": alignment}, f"{out}.template.pt")
    show(f"validation {given} fine {fine}", evaluated(model, data, "validation"))
    show("  not gated", evaluated(lambda x: model(x, gate=False), data, "validation"))


if __name__ == "__main__":
    main()
