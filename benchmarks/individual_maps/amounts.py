"""How much of the mean effect each scan contains in each place: a linear estimate in closed form.

The posterior mean of smooth random gains under the model of graded effect transfer (a healthy scan plus gains times
the template's effect), multiplied by the probability of the class from Fisher's discriminant, calibrated on labels of
validation scans.

    python benchmarks/individual_maps/amounts.py PREFIX TEMPLATE OUT [ridge=0.1 gate=1 ...]
"""

import sys

import numpy as np
import torch
from common import load, sample_linear, settings, show
from linear import Space, class_covariance, in_scans, symmetric, whitener
from scores import evaluated
from sklearn.linear_model import LogisticRegression
from student import Gains

from vagan.axes import block_means, central_differences, identity_grid


class Amounts:
    """The template's velocity times smooth gains estimated from each aligned scan."""

    def __init__(
        self,
        data,
        path,
        *,
        ridge=0.1,
        gate=True,
        none=0.3,
        low=0.0,
        high=2.0,
        spread=0.5,
        sides=0.15,
        strength=1.0,
        smooth=2.0,
        keep=400,
    ) -> None:
        held = torch.load(path)
        self.template = held["mean"] * strength
        self.space = Space(held["align"]) if held["align"] else None
        self.gate = gate
        images = self.space.aligned(data.images) if self.space else data.images
        x1, x0 = (images[data.rows("train", k)] for k in (1, 0))
        axes, values, _ = class_covariance(x0, x1, int(keep))
        inverse = whitener(axes, values, ridge)
        self.healthy = symmetric(x0.mean(0, keepdim=True))
        whole = -(torch.cat(central_differences(self.healthy), 1) * self.template).sum(1)[0]
        spacing = 3
        nodes = np.meshgrid(*[np.arange(1, n, spacing) for n in whole.shape], indexing="ij")
        centers = np.stack(nodes, -1).reshape(-1, 3)
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in whole.shape], indexing="ij"), -1)
        windows = torch.from_numpy(
            np.stack([np.exp(-((grid - c) ** 2).sum(-1) / 8.0) for c in centers]).astype(np.float32)
        )
        windows = windows / windows.sum(0)
        kept = (windows * whole.square()).sum((1, 2, 3)) > 1e-3 * whole.square().sum()
        self.windows, centers = windows[kept], centers[kept.numpy()]
        self.basis = (self.windows * whole).flatten(1)
        sampler = Gains(
            np.random.default_rng(0), none=none, low=low, high=high, spread=spread, sides=sides, smooth=smooth
        )
        draws = torch.cat([sampler(50)[:, 0][:, *centers.T] for _ in range(20)])
        self.middle, covariance = draws.mean(0), torch.cov(draws.T) + 1e-3 * torch.eye(len(centers))
        self.filters = torch.stack([inverse(one) for one in self.basis])
        self.solve = torch.linalg.inv(torch.linalg.inv(covariance) + self.filters @ self.basis.T)
        self.discriminant = inverse((x1.mean(0) - x0.mean(0)).flatten())
        va1, va0 = (images[data.rows("validation", k)].flatten(1) @ self.discriminant for k in (1, 0))
        both, labels = torch.cat([va1, va0]).numpy()[:, None], np.repeat([1, 0], [len(va1), len(va0)])
        self.class_model = LogisticRegression(class_weight="balanced").fit(both / both.std(), labels)
        self.scale = both.std()
        print(f"{len(centers)} windows, AUC {(va1[:, None] > va0[None]).float().mean():.3f}", flush=True)

    def posterior(self, aligned):
        """Probability of the class of aligned scans."""
        score = (aligned.flatten(1) @ self.discriminant).numpy()[:, None] / self.scale
        return torch.from_numpy(self.class_model.predict_proba(score)[:, 1]).float()

    def gains(self, aligned):
        """Gain of each window in aligned scans."""
        seen = aligned[:, 0].flatten(1) - self.healthy.flatten() - self.middle @ self.basis
        found = self.middle + (seen @ self.filters.T) @ self.solve
        return found * self.posterior(aligned)[:, None] if self.gate else found

    def probability(self, images):
        """Probability of the class of scans."""
        return self.posterior(self.aligned(images))

    def aligned(self, images):
        """Scans at 5.2 mm in the template's space."""
        images = block_means(images, 2) if images.shape[2:] != self.template.shape[2:] else images
        if self.space is None:
            return images
        return sample_linear(images, identity_grid(images) + self.space.aligner(images), outside="border")

    def __call__(self, images):
        """Velocities of scans."""
        aligned = self.aligned(images)
        velocity = torch.einsum("nk,kxyz->nxyz", self.gains(aligned), self.windows)[:, None] * self.template
        return in_scans(velocity, self.space, images)


def main() -> None:
    torch.set_num_threads(1)
    data = load(sys.argv[1])
    given, _ = settings(sys.argv[4:])
    options = {key: (bool(int(value)) if key == "gate" else float(value)) for key, value in given.items()}
    amounts = Amounts(data, sys.argv[2], **options)
    torch.save(amounts, sys.argv[3])
    show(f"linear amounts {given}", evaluated(amounts, data, "validation"))


if __name__ == "__main__":
    main()
