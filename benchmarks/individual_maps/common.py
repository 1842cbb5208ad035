"""Shared by the studies of individual maps in volumes: cohort arrays, small networks, deformations, and scores.

Velocities live on a grid of 5.2 mm, in voxels of that grid, whatever the resolution of the images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measures import volume_changes
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor, nn

from vagan.axes import block_means, identity_grid, resize_linear, sample_linear, spatial_shape
from vagan.constants import BACKGROUND
from vagan.deformation import log_volume_ratio
from vagan.evaluation.metrics.base import TRUTH_FRACTION
from vagan.nn.layers import conv
from vagan.nn.unet import MapGenerator

REGIONS = (
    "hippocampus_left", "hippocampus_right", "ventricle_left", "ventricle_right", "temporal_left", "temporal_right",
)  # fmt: skip
SQUARINGS = 4
LAYOUT = torch.channels_last_3d


@dataclass
class Data:
    """Images of a cohort, ``(image, 1, x, y, z)``; effects and regions are used in scores only."""

    table: pd.DataFrame
    images: Tensor
    effects: Tensor
    territories: Tensor
    prefix: str = ""

    def rows(self, split: str, label: int) -> np.ndarray:
        """Rows of a split and a class."""
        return np.flatnonzero((self.table["split"] == split) & (self.table["label"] == label))


def settings(arguments: list[str]) -> tuple[dict[str, str], Callable[[str, Any], Any]]:
    """Options ``key=value``, and a function that looks one up, converted to the type of its default."""
    given = dict(argument.split("=", maxsplit=1) for argument in arguments)
    return given, lambda key, default: type(default)(given.get(key, default))


def load(prefix: str, *, fine: bool = False) -> Data:
    """A cohort of 2.6 mm as arrays, ``fine``, or as means over blocks of two voxels along each axis."""
    table = pd.read_csv(f"{prefix}.csv", keep_default_na=False)
    images, effects, regions = (np.load(f"{prefix}_{name}.npy", mmap_mode="r") for name in "xer")
    if fine:
        return Data(table, *(torch.from_numpy(np.asarray(a))[:, None] for a in (images, effects, regions)), prefix)
    cache = Path(f"{prefix}_52.npz")
    if not cache.exists():
        x, e = (
            np.concatenate([pooled(part[i : i + 50]) for i in range(0, len(table), 50)]) for part in (images, effects)
        )
        np.savez(cache, x=x, e=e, r=np.asarray(regions[:, ::2, ::2, ::2]))
    held = np.load(cache)
    return Data(table, *(torch.from_numpy(held[name])[:, None] for name in "xer"), prefix)


def pooled(part: np.ndarray) -> np.ndarray:
    """Means over blocks of two voxels along each axis of images ``(image, x, y, z)``."""
    return block_means(torch.from_numpy(part.astype(np.float32))[:, None], 2)[:, 0].numpy()


# ---------------------------------------------------------------------------------------------------- deformations


def displacement(velocity: Tensor, squarings: int = SQUARINGS) -> Tensor:
    """Displacement after a unit of time, in voxels of the velocity's own grid."""
    moved = velocity * 0.5**squarings
    coordinates = identity_grid(velocity)
    for _ in range(squarings):
        moved = moved + sample_linear(moved, coordinates + moved, outside="border")
    return moved


def warp(images: Tensor, moved: Tensor) -> Tensor:
    """Images deformed by a displacement on a grid of the same field of view, finer or not."""
    shape = spatial_shape(images)
    if shape != spatial_shape(moved):
        moved = resize_linear(moved, shape) * (shape[0] / moved.shape[2])
    above, coordinates = images - BACKGROUND, identity_grid(images)
    exact = sample_linear(above, coordinates, outside="zeros").detach()
    return images + sample_linear(above, coordinates + moved, outside="zeros") - exact


def without_class(images: Tensor, velocity: Tensor) -> Tensor:
    """The image as if of the baseline class."""
    return warp(images, displacement(velocity))


def with_class(images: Tensor, velocity: Tensor) -> Tensor:
    """The image with the class inserted."""
    return warp(images, displacement(-velocity))


def roughness(velocity: Tensor) -> Tensor:
    """Mean squared gradient."""
    return torch.stack([velocity.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).mean()


def smoothed(field: Tensor, times: int = 1) -> Tensor:
    """Binomial filter 1-2-1 along each axis."""
    for _ in range(times):
        for axis in (2, 3, 4):
            first, last = field.narrow(axis, 0, 1), field.narrow(axis, -1, 1)
            wide, count = torch.cat([first, field, last], axis), field.shape[axis]
            field = 0.5 * field + 0.25 * (wide.narrow(axis, 0, count) + wide.narrow(axis, 2, count))
    return field


# ------------------------------------------------------------------------------------------------------- networks


def to_depth(images: Tensor, edge: int) -> Tensor:
    """Blocks of voxels as channels (space to depth)."""
    b, c, x, y, z = images.shape
    blocks = images.reshape(b, c, x // edge, edge, y // edge, edge, z // edge, edge)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * edge**3, x // edge, y // edge, z // edge)


def to_space(features: Tensor, edge: int) -> Tensor:
    """Undoes `to_depth`."""
    b, c, x, y, z = features.shape
    blocks = features.reshape(b, c // edge**3, edge, edge, edge, x, y, z)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // edge**3, x * edge, y * edge, z * edge)


class VelocityNet(nn.Module):
    """The package's U-Net on blocks of voxels: the work of a grid of 10.4 mm, velocities on one of 5.2 mm."""

    def __init__(self, width: int = 24, *, edge: int = 2) -> None:
        super().__init__()
        self.edge = edge  # of a block, in voxels of the images: 2 at 5.2 mm, 4 at 2.6 mm
        self.net = MapGenerator(3, channels=edge**3, outputs=3 * 8, width=width, global_context=True)

    def forward(self, images: Tensor) -> Tensor:
        """Velocities of images."""
        blocks = to_depth(images, self.edge).contiguous()
        return smoothed(to_space(self.net(blocks), 2))


def finer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network for 2.6 mm that does on images exactly what that of 5.2 mm does on their block means."""
    state = dict(state)
    key = "net.encoders.0.0.0.weight"
    old = state[key]  # (out, 8, 3, 3, 3)
    out = old.shape[0]
    blocks = old.reshape(out, 2, 1, 2, 1, 2, 1, 3, 3, 3).expand(out, 2, 2, 2, 2, 2, 2, 3, 3, 3) / 8
    state[key] = blocks.reshape(out, 64, 3, 3, 3).contiguous()
    return state


class BlockCritic(nn.Module):
    """A critic of blocks of voxels, for a tenth of the cost of one of voxels; the layers of the package's."""

    def __init__(
        self,
        width: int = 32,
        *,
        edge: int = 2,
        convolutions: tuple[int, ...] = (1, 2, 2),
        head: str = "position-aware",
    ) -> None:
        super().__init__()
        self.edge, self.head = edge, head
        layers: list[nn.Module] = []
        inputs = edge**3
        for level, count in enumerate(convolutions):
            for _ in range(count):
                layers += [conv(3, inputs, width * 2**level), nn.LeakyReLU(0.2)]
                inputs = width * 2**level
            layers.append(nn.AvgPool3d(2, ceil_mode=True) if level < len(convolutions) - 1 else nn.Identity())
        self.layers = nn.Sequential(*layers)
        # position-aware: a weight for each of the last voxels, as images are registered; otherwise their mean
        self.last = nn.Linear(inputs * (4 * 5 * 4 if head == "position-aware" else 1), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of images, higher if more like the baseline class."""
        features = self.layers(to_depth(images, self.edge))
        features = features.flatten(1) if self.head == "position-aware" else features.flatten(2).mean(2)
        return self.last(features)[:, 0]


# --------------------------------------------------------------------------------------------------- augmentation


class RandomPoses:
    """Random poses, sizes and elastic deformations of a batch, by one interpolation; half of it mirrored."""

    def __init__(
        self,
        shape: tuple[int, ...],
        rng: np.random.Generator,
        *,
        rotation=3.0,
        translation=0.5,
        scale=0.03,
        elastic=0.4,
    ):
        self.rng, self.shape = rng, shape
        self.rotation, self.translation, self.scale = np.deg2rad(rotation), translation, scale
        nodes = [extent // 8 + 3 for extent in shape]
        white = rng.standard_normal((400, 3, *(count + 12 for count in nodes))).astype(np.float32)
        smooth = gaussian_filter(white, (0, 0, 2, 2, 2))[:, :, 6:-6, 6:-6, 6:-6]
        self.elastic = torch.from_numpy(smooth / smooth.std() * elastic)

    def coordinates(self, count: int) -> Tensor:
        """Where voxels of each image come from."""
        shape, rng = self.shape, self.rng
        turns = rng.normal(0, self.rotation, (count, 3))
        matrix = np.tile(np.eye(3), (count, 1, 1))
        for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
            matrix[:, i, j], matrix[:, j, i] = turns[:, k], -turns[:, k]
        matrix = matrix * np.exp(rng.normal(0, self.scale, (count, 1, 3)))
        middle = (np.array(shape) - 1) / 2
        offset = middle - matrix @ middle + rng.normal(0, self.translation, (count, 3))
        grid = identity_grid(torch.empty(1, 1, *shape))
        posed = torch.einsum("nij,jxyz->nixyz", torch.from_numpy(matrix).float(), grid[0])
        posed = posed + torch.from_numpy(offset).float()[:, :, None, None, None]
        chosen = rng.integers(len(self.elastic), size=count)
        return posed + resize_linear(self.elastic[chosen], shape)

    def __call__(self, *fields: Tensor) -> tuple[Tensor, ...]:
        """The same random transformations of images and effects of one batch."""
        count = len(fields[0])
        coordinates = self.coordinates(count)
        flip = torch.from_numpy(self.rng.random(count) < 0.5)
        results = []
        for field in fields:
            mirrored = torch.where(flip[:, None, None, None, None], field.flip(2), field)
            results.append(sample_linear(mirrored, coordinates, outside="border"))
        return tuple(results)


def mirrored_velocity(velocity: Tensor) -> Tensor:
    """Velocity of the mirrored image."""
    return velocity.flip(2) * torch.tensor([-1.0, 1, 1]).reshape(1, 3, 1, 1, 1)


def draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random rows, each at most once."""
    return rng.choice(rows, count, replace=False)


# --------------------------------------------------------------------------------------------------------- scores


def ncc(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation over voxels."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-20))


def predicted_changes(velocity: Tensor, masks: Tensor) -> np.ndarray:
    """Log ratio of each region's volume to that without the class: ``(image, region)``."""
    return volume_changes(-log_volume_ratio(displacement(-velocity)).numpy(), masks.numpy())


def score(maps1: np.ndarray, maps0: np.ndarray, data: Data, rows1: np.ndarray, *, changes: np.ndarray | None = None):
    """All scores; ``changes`` are predicted log volume changes of the patients' regions."""
    effects, table = data.effects[rows1].float().numpy(), data.table.iloc[rows1]
    values = [ncc(m, e) for m, e in zip(maps1, effects, strict=True)]
    s1, s0 = (np.abs(m).mean((1, 2, 3, 4)) for m in (maps1, maps0))
    found = {
        "ncc": np.mean(values),
        "ncc_hipp": np.mean([v for v, s in zip(values, table["subtype"], strict=True) if s == "hippocampal"]),
        "ncc_vent": np.mean([v for v, s in zip(values, table["subtype"], strict=True) if s == "ventricular"]),
        "severity": spearmanr(s1, table["severity"])[0],
        "M0/M1": s0.mean() / s1.mean(),
        "amplitude": np.mean([(m * e).sum() / (e * e).sum() for m, e in zip(maps1, effects, strict=True)]),
        "AUC": (s1[:, None] > s0[None]).mean(),
    }
    recalls = []
    for m, e, t in zip(maps1, effects, data.territories[rows1].numpy(), strict=True):
        whole = np.where(np.abs(e) > TRUTH_FRACTION * np.abs(e).max(), e, 0)
        top = np.argpartition(-np.abs(m).ravel(), np.count_nonzero(whole))[: np.count_nonzero(whole)]
        covered = np.zeros(m.size, bool)
        covered[top] = True
        squared, region = whole.ravel() ** 2, t.ravel()
        inside = [region == k for k in range(1, 7)]
        recalls.append([squared[covered & at].sum() / max(squared[at].sum(), 1e-9) for at in inside])
    recalls = np.array(recalls)
    late = table["severity"].to_numpy() > 0.75  # where the temporal lobes have an effect worth finding
    found |= {
        "recall_hipp": recalls[:, :2].mean(),
        "recall_vent": recalls[:, 2:4].mean(),
        "recall_temp": recalls[late, 4:].mean(),
    }
    if changes is not None:
        true = table[[f"d_{name}" for name in REGIONS]].to_numpy()
        each = [spearmanr(changes[:, k], true[:, k])[0] for k in range(6)]
        found |= {"vol_hipp": np.mean(each[:2]), "vol_vent": np.mean(each[2:4]), "vol_temp": np.mean(each[4:])}
        used = np.concatenate([changes[:, k] for k in range(4)]), np.concatenate([true[:, k] for k in range(4)])
        found["vol_slope"] = (used[0] * used[1]).sum() / (used[1] ** 2).sum()
    return {key: round(float(value), 3) for key, value in found.items()}


def show(name: str, found: dict[str, float]) -> None:
    print(name, " ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)
