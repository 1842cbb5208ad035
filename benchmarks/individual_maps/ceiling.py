"""Scores of one velocity for all, fitted to the true effects of the training patients: a ceiling.

python benchmarks/individual_maps/ceiling.py PREFIX UPDATES OUT
"""

import sys

import numpy as np
import torch
from adversarial import TemplateVelocity
from common import draw, load, show, without_class
from scores import evaluated


def main() -> None:
    torch.set_num_threads(1)
    data = load(sys.argv[1])
    rng, model = np.random.default_rng(0), TemplateVelocity()
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    rows = data.rows("train", 1)
    for update in range(int(sys.argv[2])):
        adam.param_groups[0]["lr"] = 0.03 * (1 - update / int(sys.argv[2])) + 1e-3
        some = draw(rows, 12, rng)
        x, e = data.images[some], data.effects[some]
        loss = (x - without_class(x, model(x)) - e).square().mean()
        adam.zero_grad(), loss.backward(), adam.step()
    torch.save(model.template().detach(), sys.argv[3])
    show("fitted to true effects", evaluated(model, data, "validation", limit=64))


if __name__ == "__main__":
    main()
