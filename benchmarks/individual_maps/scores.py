"""Scores of velocities on a split of a cohort."""

import numpy as np
import torch
from common import Data, displacement, predicted_changes, score, warp


def evaluated(velocity_of, data: Data, split: str, *, limit: int = 96) -> dict[str, float]:
    """Score maps of the first ``limit`` patients and healthy scans; ``velocity_of`` gives velocities of images."""
    rows1, rows0 = data.rows(split, 1)[:limit], data.rows(split, 0)[:limit]
    held = np.load(f"{data.prefix}_masks.npz")
    masks = torch.from_numpy(held["masks"][np.searchsorted(held["rows"], rows1)])
    maps, changes = {}, []
    with torch.no_grad():
        for label, rows in ((1, rows1), (0, rows0)):
            parts = []
            for start in range(0, len(rows), 16):
                part = rows[start : start + 16]
                x = data.images[part].float()
                velocity = velocity_of(x)
                parts.append((x - warp(x, displacement(velocity))).numpy())
                if label:
                    changes.append(predicted_changes(velocity, masks[start : start + 16].float()))
            maps[label] = np.concatenate(parts)
    return score(maps[1], maps[0], data, rows1, changes=np.concatenate(changes))
