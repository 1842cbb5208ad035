"""Scores and swap tests of saved models on a split at 5.2 or 2.6 mm: networks, linear amounts, means of both.

``A+B`` averages velocities, ``*F`` scales them, ``@C`` multiplies by the probability of the class from amounts ``C``.
Masks and, for the swap test, hypothetical effects must exist.

    python benchmarks/individual_maps/final.py PREFIX SPLIT LIMIT FINE NAME=PATH[+PATH][*FACTOR][@AMOUNTS] ...
"""

import sys
from pathlib import Path

import amounts
import numpy as np
import symmetric
import torch
from common import LAYOUT, VelocityNet, displacement, load, show, warp
from measures import swap_test
from scores import evaluated

from vagan.axes import block_means


def source(path):
    """Velocities of a saved network, or of linear amounts."""
    held = torch.load(path, weights_only=False)
    if isinstance(held, dict):
        edge = 4 if held["net.encoders.0.0.0.weight"].shape[1] == 64 else 2
        net = VelocityNet(16, edge=edge).to(memory_format=LAYOUT)
        net.load_state_dict(held)
        net.eval()
        if edge == 4:
            return net
        return lambda images: net(block_means(images, 2) if images.shape[2] == 64 else images)
    return held


def combination(given):
    """Velocities of ``PATH[+PATH][*FACTOR][@AMOUNTS]``."""
    expression, _, gate_path = given.partition("@")
    paths, _, factor = expression.partition("*")
    sources = [source(path) for path in paths.split("+")]
    gate = torch.load(gate_path, weights_only=False) if gate_path else None

    def velocity_of(images):
        velocity = sum(one(images) for one in sources) / len(sources) * float(factor or 1)
        return velocity if gate is None else velocity * gate.probability(images)[:, None, None, None, None]

    return velocity_of


def maps_of(velocity_of, images):
    """Effect maps, ``(image, 1, x, y, z)``."""
    with torch.no_grad():
        parts = [x.float() for x in images.split(16)]
        return np.concatenate([(x - warp(x, displacement(velocity_of(x)))).numpy() for x in parts])


def main() -> None:
    prefix, part, limit, fine = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
    torch.set_num_threads(1)
    sys.modules["__main__"].Amounts = amounts.Amounts  # pickled by those scripts
    sys.modules["__main__"].SymmetricModel = symmetric.SymmetricModel
    data = load(prefix, fine=fine)
    references = Path(f"{prefix}_hypothetical_{part}.npz")
    for argument in sys.argv[5:]:
        name, _, given = argument.partition("=")
        velocity_of = combination(given)
        found = evaluated(velocity_of, data, part, limit=limit)
        if references.exists():
            held = np.load(references)
            rows = held["rows"]
            effects = data.effects[rows].float().numpy()
            swapped = held["swapped_fine" if fine else "swapped"].astype(np.float32).reshape(effects.shape)
            swap = swap_test(maps_of(velocity_of, data.images[rows]), effects, swapped)
            found |= {"swap_gain": round(swap.gain, 3), "swap_share": round(swap.share, 3)}
        show(f"{part} {'2.6' if fine else '5.2'} mm {name}", found)


if __name__ == "__main__":
    main()
