"""The supervised reference: the same network trained on the true effects.

python benchmarks/individual_maps/supervised.py PREFIX OUT [seconds=600 width=24 loss=l2 ...]
"""

import sys
import time

import numpy as np
import torch
from common import LAYOUT, RandomPoses, VelocityNet, draw, load, settings, show, without_class
from scores import evaluated

from vagan.nn.layers import measuring_statistics


def recalibrated(net, data, rng, count=64):
    """Recompute batch-norm statistics on training images without augmentation, both classes in each batch."""
    rows = np.concatenate([draw(data.rows("train", k), count, rng) for k in (0, 1)])
    with measuring_statistics(net):
        for part in rng.permutation(rows).reshape(-1, 32):
            net(data.images[part].float())
    return net.eval()


def main() -> None:
    prefix, out = sys.argv[1:3]
    _, get = settings(sys.argv[3:])
    torch.set_num_threads(1), torch.manual_seed(get("seed", 0))
    rng = np.random.default_rng(get("seed", 0))
    data = load(prefix)
    net = VelocityNet(get("width", 24)).to(memory_format=LAYOUT)
    lr, batch, seconds = get("lr", 2e-3), get("batch", 8), get("seconds", 600.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-4)
    augment = RandomPoses((32, 40, 28), rng)
    tr1, tr0 = data.rows("train", 1), data.rows("train", 0)
    begin, update, losses, at = time.time(), 0, [], 0.5
    while (gone := (time.time() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (update + 1) / 20) * 0.5 * (1 + np.cos(np.pi * gone))
        rows = np.concatenate([draw(tr1, batch, rng), draw(tr0, batch, rng)])
        x, e = augment(data.images[rows], data.effects[rows].float())
        net.train()
        error = x - without_class(x, net(x)) - e
        loss = error.square().mean() if get("loss", "l2") == "l2" else error.abs().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(float(loss.detach()))
        update += 1
        if gone > at:
            at = 2
            show(
                f"validation@{update} {np.mean(losses[-50:]):.6f}",
                evaluated(recalibrated(net, data, rng), data, "validation"),
            )
    recalibrated(net, data, rng)
    torch.save(net.state_dict(), out)
    for split in ("validation", "test"):
        show(f"{split}@{update} {np.mean(losses[-50:]):.6f}", evaluated(net, data, split))


if __name__ == "__main__":
    main()
