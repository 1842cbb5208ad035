"""Which loss and architecture make a critic see the class: critics alone, without a generator.

Patients' scans against healthy ones. Reports, against updates, the held-out AUC, and the cosine of the critic's
gradient with the true effect.

    python benchmarks/individual_maps/probe.py PREFIX NAME [key=value ...]
"""

import sys
import time

import numpy as np
import torch
from common import LAYOUT, BlockCritic, RandomPoses, draw, load, ncc, settings, smoothed

from vagan.nn.critic import Critic


def critic_objective(critic, real, fake, *, loss, gamma, share, rng):
    """Loss of a critic on a batch: Wasserstein with gradient penalty, or relativistic with R1 and R2."""
    count = len(real)
    some = max(1, int(share * count))
    if loss == "wgan":
        scores = critic(torch.cat([real, fake]))
        value = scores[count:].mean() - scores[:count].mean()
        mix = torch.from_numpy(rng.random((some, 1, 1, 1, 1), dtype=np.float32))
        points = (mix * real[:some] + (1 - mix) * fake[:some]).requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
        norms = slope.flatten(1).norm(dim=1)
        return value + gamma * (norms - 1).square().mean(), value.detach(), norms.mean().detach()
    points = torch.cat([real[:some], fake[:some]]).requires_grad_(True)
    scores = critic(torch.cat([points, real[some:], fake[some:]]))
    real_scores = torch.cat([scores[:some], scores[2 * some : some + count]])
    fake_scores = torch.cat([scores[some : 2 * some], scores[some + count :]])
    value = torch.nn.functional.softplus(fake_scores - real_scores).mean()
    (slope,) = torch.autograd.grad(scores[: 2 * some].sum(), points, create_graph=True)
    norms = slope.flatten(1).norm(dim=1)
    return value + gamma * norms.square().mean(), value.detach(), norms.mean().detach()


def main() -> None:
    prefix, name = sys.argv[1:3]
    _, get = settings(sys.argv[3:])
    torch.set_num_threads(1), torch.manual_seed(get("seed", 0))
    rng = np.random.default_rng(get("seed", 0))
    data = load(prefix)
    kind, batch, blur = get("critic", "block"), get("batch", 16), get("blur", 0)
    loss, gamma = get("loss", "wgan"), get("gamma", 10.0)
    critic = (
        BlockCritic(get("width", 32), head=get("head", "position-aware"))
        if kind == "block"
        else Critic(3, width=get("width", 16))
    ).to(memory_format=LAYOUT)
    blurred_critic = (lambda x: critic(smoothed(x, blur))) if blur else critic
    optimizer = torch.optim.Adam(critic.parameters(), lr=get("lr", 3e-4), betas=(0.0, 0.9))
    augment = RandomPoses((32, 40, 28), rng)
    tr1, tr0, va1, va0 = (data.rows(s, k) for s in ("train", "validation") for k in (1, 0))
    va1, va0 = va1[:64], va0[:64]
    x1, x0, e1 = data.images[va1], data.images[va0], data.effects[va1].numpy()
    begin, seen, last = time.time(), [], 0.0
    seconds, update = get("seconds", 120.0), 0
    while time.time() - begin < seconds:
        (real,), (fake,) = augment(data.images[draw(tr0, batch, rng)]), augment(data.images[draw(tr1, batch, rng)])
        value, shown, norm = critic_objective(
            blurred_critic, real, fake, loss=loss, gamma=gamma, share=get("share", 0.25), rng=rng
        )
        optimizer.zero_grad(), value.backward(), optimizer.step()
        update += 1
        seen.append((float(shown), float(norm)))
        if time.time() - begin > last + seconds / 4:
            last += seconds / 4
            with torch.no_grad():
                s1, s0 = blurred_critic(x1).numpy(), blurred_critic(x0).numpy()
            y = x1.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(blurred_critic(y).sum(), y)
            slope = slope.numpy()
            each = np.mean([ncc(-g, e) for g, e in zip(slope, e1, strict=True)])
            print(
                f"{name} {update} updates {time.time() - begin:.0f}s AUC {(s0[:, None] > s1[None]).mean():.3f} "
                f"cos each {each:.3f} cos of means {ncc(-slope.mean(0), e1.mean(0)):.3f} "
                f"train value, norm {np.mean(seen[-100:], 0).round(3)} val distance {s0.mean() - s1.mean():.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
