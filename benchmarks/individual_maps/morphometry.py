"""A template velocity from registration: scans of each class are aligned to a template of their own class.

Anatomies are cubic B-splines with a bending penalty, estimated by inverse-compositional Gauss-Newton (Baker and
Matthews, IJCV 2004) from contrast-matched scans. The patients' template is the healthy one deformed by one velocity.
Whatever the anatomies of patients have in common beyond those of healthy scans is moved into that velocity, and so is
what the mean images still differ by, until nothing is left (expectation maximisation of a mixed-effects model). Uses
images and labels of training scans only.

    python benchmarks/individual_maps/morphometry.py PREFIX OUT [scans=890 ridge=0.3 sparsity=0.06 smoothness=100 ...]
"""

import sys
import time
from copy import copy
from functools import partial

import numpy as np
import torch
from align import inverse
from common import displacement, load, mirrored_velocity, roughness, settings, show, smoothed, warp
from scipy.interpolate import BSpline
from scipy.sparse import csr_array, kron
from scores import evaluated
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from vagan.axes import block_means, central_differences, identity_grid, resize_linear, sample_linear

COARSE = (32, 40, 28)
"""Grid of velocities and displacements, 5.2 mm."""


def spline_basis(points: int, every: int) -> np.ndarray:
    """Cubic B-splines at the points of an axis, ``(spline, point)``."""
    count = int(np.ceil((points - 1) / every)) + 3
    knots = (np.arange(count + 4) - 3.0) * every - 0.5 * ((count - 3) * every - (points - 1))
    return BSpline.design_matrix(np.arange(points, dtype=float), knots, 3).toarray().T


class Splines:
    """Vector fields on `COARSE` as tensor products of cubic B-splines."""

    def __init__(self, every: int) -> None:
        self.axes = [spline_basis(n, every) for n in COARSE]
        self.x, self.y, self.z = (torch.from_numpy(one).float() for one in self.axes)
        self.counts = tuple(len(one) for one in self.axes)
        self.size = 3 * int(np.prod(self.counts))

    def field(self, parameters: Tensor) -> Tensor:
        """Vectors at all voxels."""
        p = parameters.reshape(-1, 3, *self.counts)
        return torch.einsum("ncijk,ix,jy,kz->ncxyz", p, self.x, self.y, self.z)

    def transposed(self, vectors: Tensor) -> Tensor:
        """Scalar products with all splines."""
        return torch.einsum("ncxyz,ix,jy,kz->ncijk", vectors, self.x, self.y, self.z).flatten(1)

    def precision(self, bending: float, size: float) -> np.ndarray:
        """Bending energy and mean square of one component, as a matrix."""

        def gram(axis: int, order: int) -> np.ndarray:
            d = np.diff(self.axes[axis], n=order, axis=1)
            return d @ d.T

        total = size * np.kron(np.kron(gram(0, 0), gram(1, 0)), gram(2, 0))
        for i, j, k in ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1)):
            weight = bending * (1 if 2 in (i, j, k) else 2)
            total = total + weight * np.kron(np.kron(gram(0, i), gram(1, j)), gram(2, k))
        return total

    def normal(self, slopes: Tensor) -> np.ndarray:
        """Gauss-Newton matrix of an image with these slopes."""
        rows = csr_array(kron(kron(csr_array(self.axes[0]), csr_array(self.axes[1])), csr_array(self.axes[2])))
        flat = slopes.flatten(1).double().numpy()
        count = rows.shape[0]
        found = np.zeros((3 * count, 3 * count), np.float32)
        for i in range(3):
            for j in range(i, 3):
                block = (rows.multiply(flat[i] * flat[j]) @ rows.T).toarray()
                found[i * count : (i + 1) * count, j * count : (j + 1) * count] = block
                found[j * count : (j + 1) * count, i * count : (i + 1) * count] = block.T
        return found


def on_grid(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A displacement in voxels of `COARSE` on another grid, in voxels of that."""
    if tuple(field.shape[2:]) == tuple(shape):
        return field
    return resize_linear(field, tuple(shape)) * (shape[0] / field.shape[2])


def seen_through(images: Tensor, moved: Tensor) -> Tensor:
    """Images at displaced voxels."""
    return sample_linear(images, identity_grid(images) + on_grid(moved, images.shape[2:]), outside="border")


def contrast_matched(images: Tensor, template: Tensor) -> Tensor:
    """Images with the contrast of a template: less what a second-order polynomial of its intensities explains."""
    flat = template.flatten()
    powers = torch.stack([torch.ones_like(flat), flat, flat.square()])
    fitted = images.flatten(1) @ powers.T @ torch.linalg.inv(powers @ powers.T) @ powers
    return template + images - fitted.reshape(images.shape)


class Registration:
    """Registers scans to templates of one contrast; displacements lead from template to scan."""

    def __init__(self, template: Tensor, *, every: int = 2, bending: float = 0.3, size: float = 0.02) -> None:
        self.splines = Splines(every)
        slopes = torch.cat(central_differences(template), 1)[0]
        scale = template.shape[2] / COARSE[0]
        if scale > 1:  # root mean square of slopes, in voxels of the coarse grid
            slopes = block_means(slopes[None] * scale, int(scale))[0]
        penalty = torch.from_numpy(self.splines.precision(bending, size)).float()
        self.penalty = penalty
        matrix = self.splines.normal(slopes)
        count = len(penalty)
        for axis in range(3):
            matrix[axis * count : (axis + 1) * count, axis * count : (axis + 1) * count] += penalty.numpy()
        energy = np.diagonal(matrix).reshape(3, -1).sum(0) - 3 * np.diagonal(penalty)
        active = np.tile(energy > 1e-3 * energy.max(), 3)  # splines that move something
        self.active = torch.from_numpy(np.flatnonzero(active))
        self.factor = torch.linalg.cholesky(torch.from_numpy(matrix[np.ix_(active, active)]))

    def __call__(self, images: Tensor, template: Tensor, *, rounds: int = 5) -> tuple[Tensor, Tensor]:
        """Spline parameters of each scan's displacement, and the scans as seen through it, contrast-matched."""
        parameters = torch.zeros(len(images), self.splines.size)
        slopes = torch.cat(central_differences(template), 1)
        factor = template.shape[2] // COARSE[0]
        slopes = slopes * factor

        def aligned() -> Tensor:
            return contrast_matched(seen_through(images, self.splines.field(parameters)), template)

        for _ in range(rounds):
            seen = aligned()
            force = (template - seen) * slopes
            force = block_means(force, factor) if factor > 1 else force
            rough = (parameters.reshape(-1, len(self.penalty)) @ self.penalty).reshape(len(images), -1)
            step = (self.splines.transposed(force) - rough)[:, self.active]
            solved = torch.cholesky_solve(step.T, self.factor).T
            parameters = parameters.index_add(1, self.active, solved, alpha=0.8)
        return parameters, aligned()


def carried(velocity: Tensor, moved: Tensor) -> Tensor:
    """Template velocities in the space of scans: pushed forward along displacements from template to scan."""
    slopes = torch.stack(central_differences(moved), 2)  # (image, component, axis, ...)
    pushed = velocity + torch.einsum("ncaxyz,naxyz->ncxyz", slopes, velocity.expand(len(moved), -1, -1, -1, -1))
    return sample_linear(pushed, identity_grid(moved) + inverse(moved), outside="border")


def symmetric(image: Tensor) -> Tensor:
    """Mean of an image and its mirror image."""
    return (image + image.flip(2)) / 2


def half(images: Tensor) -> Tensor:
    """Symmetric part of images, on one side, as rows."""
    return symmetric(images)[:, :, : images.shape[2] // 2].flatten(1)


class Metric:
    """Quadratic form of the inverse of the within-class covariance plus a ridge, of symmetric halves of images."""

    def __init__(self, classes: list[Tensor], keep: int = 400) -> None:
        centred = torch.cat([rows - rows.mean(0) for rows in classes])
        values, vectors = torch.linalg.eigh(centred @ centred.T / len(centred))
        keep = min(keep, len(centred) - 2)
        self.values = values[-keep:]
        self.axes = centred.T @ vectors[:, -keep:] / (self.values * len(centred)).sqrt()
        self.count = 1 / sum(1 / len(rows) for rows in classes)

    def __call__(self, rows: Tensor, ridge: float) -> Tensor:
        """Product with the inverse."""
        return (rows - ((rows @ self.axes) * (self.values / (self.values + ridge))) @ self.axes.T) / ridge


class Templates:
    """Templates of both classes, one deformed into the other by a velocity, fitted to aligned training scans."""

    def __init__(self, data, *, every: int, bending: float, few: int = 128) -> None:
        self.data = data
        self.rows = {(s, k): data.rows(s, k) for s in ("train", "validation") for k in (0, 1)}
        self.velocity = torch.zeros(1, 3, *COARSE)
        rows = self.rows["train", 0]
        self.healthy = symmetric(torch.stack([data.images[i].float() for i in rows]).mean(0, keepdim=True))
        self.realign(every, bending, rows[:few])
        self.realign(every, bending, rows[:few])

    def realign(self, every: int, bending: float, rows: np.ndarray) -> None:
        """Anatomies with this resolution and stiffness from now on; renews the healthy template by them."""
        self.registration = Registration(self.healthy, every=every, bending=bending)
        parameters, seen = self.aligned(rows, self.healthy)
        centre = self.registration.splines.field(parameters.mean(0, keepdim=True))
        centre = (centre + mirrored_velocity(centre)) / 2
        self.healthy = seen_through(symmetric(seen.mean(0, keepdim=True)), -centre)

    def of(self, label: float) -> Tensor:
        """Template of a class, 0 or 1, or between them."""
        return warp(self.healthy, displacement(-self.velocity * label))

    def aligned(self, rows: np.ndarray, template: Tensor) -> tuple[Tensor, Tensor]:
        """Spline parameters and aligned scans."""
        parts = np.split(rows, range(32, len(rows), 32))
        found = [self.registration(self.data.images[part].float(), template) for part in parts]
        return torch.cat([p for p, _ in found]), torch.cat([seen for _, seen in found])

    def fit(self, *, ridge: float, sparsity: float, smoothness: float, least: float = 0.02, rounds: int = 4) -> str:
        """Velocity by generalised least squares over mean images; how well it explains validation scans.

        The penalty of magnitudes is reweighted (Candes, Wakin and Boyd, J Fourier Anal Appl 2008), so that it does
        not shrink velocities much larger than ``least``.
        """
        x0, x1, v0, v1 = (
            self.aligned(self.rows[s, k], self.of(k))[1] for s in ("train", "validation") for k in (0, 1)
        )
        metric = Metric([half(x0), half(x1)])
        # where scans of both classes agree after removal of the velocity
        scale, shape = self.healthy.shape[2] / COARSE[0], tuple(self.healthy.shape[2:])
        velocity, weights = self.velocity, torch.ones(1, *COARSE)
        for turn in range(rounds):
            if turn:
                weights = least / (velocity.square().sum(1).sqrt() + least)
            mean = warp(symmetric(x1.mean(0, keepdim=True)), displacement(velocity))
            left = half(mean) - half(x0.mean(0, keepdim=True))
            slopes = torch.cat(central_differences(mean), 1)
            change = torch.zeros_like(velocity, requires_grad=True)
            adam = torch.optim.Adam([change], lr=0.02)
            for step in range(100):
                adam.param_groups[0]["lr"] = 0.02 * (1 - step / 100) + 5e-4
                whole = smoothed(velocity + change)
                whole = (whole + mirrored_velocity(whole)) / 2
                r = left + half((slopes * on_grid(whole - velocity, shape)).sum(1, keepdim=True))
                misfit = metric.count * (r * metric(r, ridge)).sum() * 2 / scale**3  # both sides; voxels of 5.2 mm
                prior = (
                    smoothness * roughness(whole) * whole.numel() / 3
                    + 10 * sparsity * (weights * (whole.square().sum(1) + 1e-6).sqrt()).sum()
                )
                adam.zero_grad(), (misfit + prior).backward(), adam.step()
            velocity = whole.detach()
        text = [f"misfit {float(misfit.detach()):.1f}, |v| {float(velocity.abs().mean()):.4f}, held out: explained"]
        seen = half(v1).mean(0, keepdim=True) - half(v0).mean(0, keepdim=True)
        shown = half(warp(self.healthy, displacement(-velocity)) - self.healthy)
        for one in (0.03, 0.3, 3.0):  # share of the difference that a multiple of the velocity's effect explains
            along = (shown * metric(seen, one)).sum()
            rest = (shown * metric(shown, one)).sum() * (seen * metric(seen, one)).sum()
            text.append(f"{float(along.square() / rest):.3f}")
        first = metric(half(x1).mean(0) - half(x0).mean(0), 0.03)
        shown = metric(shown, 0.03)
        for name, critic in (("critic", first), ("of the velocity", shown.flatten())):
            s0, s1 = half(v0) @ critic, half(v1) @ critic
            text.append(f"{name} AUC {float((s1[:, None] > s0[None]).float().mean()):.3f}")
        self.velocity = velocity
        return " ".join(text)


class TemplateEffect:
    """One velocity for all in template space, carried to the anatomy of each scan."""

    def __init__(self, templates: Templates) -> None:
        self.velocity, self.registration = templates.velocity, templates.registration
        self.middle = templates.of(0.5)

    def anatomy(self, images: Tensor) -> Tensor:
        """Displacements from the template to scans."""
        return self.registration.splines.field(self.registration(images, self.middle)[0])

    def __call__(self, images: Tensor) -> Tensor:
        """Velocities of scans."""
        return carried(self.velocity, self.anatomy(images))


class Amounts:
    """How much of the velocity each scan contains, region by region, and the probability of the class.

    Features are scalar products of an aligned scan with the velocity's effect in windows, whitened by their
    covariance in healthy scans. What patients vary more than healthy scans, beyond chance (Marchenko and Pastur),
    varies with the disease; the posterior mean of amounts under a normal model of both follows in closed form.
    """

    def __init__(
        self,
        templates: Templates,
        effect: TemplateEffect,
        *,
        ridge: float = 1.0,
        share: float = 3.0,
        spacing: int = 4,
    ) -> None:
        self.effect, self.middle, self.registration = effect, templates.of(0.5), templates.registration
        train = [half(templates.aligned(templates.rows["train", k], self.middle)[1]) for k in (0, 1)]
        metric, self.mean = Metric(train), train[0].mean(0)
        whole = warp(templates.healthy, displacement(-effect.velocity)) - templates.healthy
        nodes = np.meshgrid(*[np.arange(1, n, spacing) for n in (COARSE[0] // 2, *COARSE[1:])], indexing="ij")
        places = np.stack(np.meshgrid(*[np.arange(n) for n in COARSE], indexing="ij"), -1)
        windows = torch.from_numpy(
            np.stack([
                np.exp(-((places - c) ** 2).sum(-1) / (0.9 * spacing**2))
                for c in np.stack(nodes, -1).reshape(-1, 3)
            ]).astype(np.float32)
        )  # fmt: skip
        windows = windows + windows.flip(1)
        windows = windows / windows.sum(0)
        basis = half(resize_linear(windows[:, None], tuple(whole.shape[2:])) * whole)
        energy = basis.square().sum(1)
        kept = energy > 2e-3 * energy.sum()
        self.windows, basis = windows[kept], basis[kept]
        self.filters = metric(basis, ridge)
        overlap = self.filters @ basis.T  # features of the velocity's effect, window by window
        f0, f1 = ((rows - self.mean) @ self.filters.T for rows in train)
        count = len(basis)
        covariance = torch.cov(f0.T)
        covariance = covariance + 1e-3 * covariance.trace() / count * torch.eye(count)
        self.whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
        f0, f1 = f0 @ self.whiten.T, f1 @ self.whiten.T
        self.patients = f1.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(f1.T) - torch.cov(f0.T))
        chance = 2 * (count / len(f1)) ** 0.5
        strong = values > chance
        self.shrink = (vectors[:, strong] * (values / (1 + values))[strong]) @ vectors[:, strong].T
        design = self.whiten @ overlap
        # amounts near one common factor where features say little
        line = design.sum(1)
        self.common = float((line @ self.patients) / (line @ line))
        normal = design.T @ design
        self.solve = torch.linalg.solve(normal + share * normal.trace() / count * torch.eye(count), design.T)
        self.design = design
        self.critic = metric(train[1].mean(0) - train[0].mean(0), 0.1).flatten()
        held = [self.halves(templates.data.images[templates.rows["validation", k]]) @ self.critic for k in (0, 1)]
        scores = torch.cat(held).numpy()[:, None]
        self.scale = scores.std()
        labels = np.repeat([0, 1], [len(one) for one in held])
        self.classes = LogisticRegression(class_weight="balanced").fit(scores / self.scale, labels)
        auc = float((held[1][:, None] > held[0][None]).float().mean())
        print(
            f"{count} windows, {int(strong.sum())} directions vary with the disease, "
            f"common factor {self.common:.2f}, held-out AUC {auc:.3f}",
            flush=True,
        )

    def halves(self, images: Tensor) -> Tensor:
        """Symmetric halves of aligned scans."""
        return torch.cat([half(self.registration(x.float(), self.middle)[1]) for x in images.split(32)])

    def gains(self, halves: Tensor) -> Tensor:
        """Posterior mean, given the class, of each window's amount."""
        features = (halves - self.mean) @ self.filters.T @ self.whiten.T
        expected = self.patients + (features - self.patients) @ self.shrink
        return self.common + (expected - self.common * self.design.sum(1)) @ self.solve.T

    def __call__(self, images: Tensor, *, gate: bool = True, individual: bool = True) -> Tensor:
        """Velocities of scans."""
        halves = self.halves(images)
        gains = self.gains(halves)
        if not individual:
            gains = torch.full_like(gains, self.common)
        if gate:
            p = self.classes.predict_proba((halves @ self.critic).numpy()[:, None] / self.scale)[:, 1]
            gains = gains * torch.from_numpy(p).float()[:, None]
        factors = torch.einsum("nk,kxyz->nxyz", gains, self.windows)[:, None]
        anatomy = self.effect.anatomy(images)
        return torch.cat([carried(self.effect.velocity * f, a[None]) for f, a in zip(factors, anatomy, strict=True)])


def main() -> None:
    prefix, out = sys.argv[1:3]
    _, get = settings(sys.argv[3:])
    torch.set_num_threads(1)
    data, begin = load(prefix), time.process_time()
    data.table = data.table[: get("scans", len(data.table))]
    prior = {key: get(key, default) for key, default in (("ridge", 0.3), ("sparsity", 0.06), ("smoothness", 100.0))}

    def report(name: str, velocity_of, splits: tuple[str, ...] = ("validation", "test")) -> None:
        for split in splits:
            found = evaluated(velocity_of, data, split, limit=get("limit", 96))
            show(f"{time.process_time() - begin:.0f}s {split} {name}", found)

    templates = Templates(data, every=6, bending=3.0)
    print(f"scans {[len(rows) for rows in templates.rows.values()]}, stiff: {templates.fit(**prior)}", flush=True)
    stiff = copy(templates)
    report("one velocity, stiff alignment", TemplateEffect(templates), ("validation",))
    templates.realign(3, 0.3, templates.rows["train", 0])
    print(f"fine: {templates.fit(**prior)}", flush=True)
    effect = TemplateEffect(templates)
    stiff.velocity = templates.velocity
    amounts = Amounts(stiff, effect, share=get("share", 3.0))
    torch.save(amounts, out)
    report("amounts, gated", amounts)
    report("one amount, gated", partial(amounts, individual=False), ("validation",))
    report("one velocity, fine alignment", effect, ("validation",))


if __name__ == "__main__":
    main()
