"""Memory, open files and threads over long runs; many clients at the same time."""

import gc
import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import imageio.v3 as imageio
import numpy as np
import torch

from torture.attacks import HOST, TOKEN, serving
from torture.corpus import Workshop
from torture.kills import TRAINING
from vagan.attribution.registry import load_method
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.inference.files import attribute_files
from vagan.training.config import load_config
from vagan.training.engine.loop import train

STEPS, ATTRIBUTIONS, CLIENTS, SECONDS = 10_000, 1000, 50, 60
SAMPLES = 40
STEEPEST_MB = {"training": 1.0, "attribution": 5.0}
"""Most growth of memory in MB, for 1,000 steps or 1,000 images."""


class Gauge:
    """Memory in MB, open files and threads of this process, by how much was done."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int, int]] = []

    def read(self, done: int) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        megabytes = pages * os.sysconf("SC_PAGESIZE") / 2**20
        self.rows.append((done, megabytes, len(os.listdir("/proc/self/fd")), threading.active_count()))

    def figures(self, unit: str, most_mb: float) -> dict[str, Any]:
        """Slopes over the second half."""
        late = np.array(self.rows[len(self.rows) // 2 :], float)
        per_thousand = [float(np.polyfit(late[:, 0], late[:, place], 1)[0] * 1000) for place in (1, 2, 3)]
        failures = [f"memory grows by {per_thousand[0]:.2f} MB in 1,000 {unit}"] if per_thousand[0] > most_mb else []
        failures += [f"{what} grow" for what, slope in zip(("files", "threads"), per_thousand[1:], strict=True)
                     if slope > 0.5]  # fmt: skip
        return {
            unit: int(late[-1, 0]),
            "memory at the end, MB": float(late[-1, 1]),
            f"growth of memory for 1,000 {unit}, MB": per_thousand[0],
            f"growth of open files for 1,000 {unit}": per_thousand[1],
            f"growth of threads for 1,000 {unit}": per_thousand[2],
            "failures": failures,
        }


def long_training(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """One training of many small updates."""
    cohort = make_synthetic_cohort(workshop.good / "long", n=60, size=(16, 16), seed=3)
    steps = round(STEPS * share)
    updates = steps // 2
    settings = TRAINING | {
        "training.generator_updates": str(updates),
        "training.validate_every": str(max(1, updates // SAMPLES)),
        "training.batch_size": "1",
        "training.checkpoint_seconds": "5",
        "generator.width": "1",
        "critic.width": "1",
        "schedule.critic_updates": "1",
    }
    gauge = Gauge()

    def monitor(*_: torch.Tensor) -> float:
        gauge.read(2 * (len(gauge.rows) + 1) * max(1, updates // SAMPLES))
        return 0.0

    train(cohort, workshop.good / "long-run", load_config(settings=settings), monitor=monitor)
    return gauge.figures("steps", STEEPEST_MB["training"])


def many_attributions(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """The same few images again and again, with all that is written of them."""
    folder = workshop.place("attributions")
    images = []
    for number in range(5):
        images.append(folder / f"{number}.png")
        imageio.imwrite(images[-1], np.random.default_rng(number).integers(0, 255, (24, 20), dtype=np.uint8))
    gauge = Gauge()
    rounds = max(8, round(ATTRIBUTIONS * share) // len(images))
    for done in range(1, rounds + 1):
        attribute_files(workshop.model, images, folder / "maps")
        gauge.read(done * len(images))
    return gauge.figures("images", STEEPEST_MB["attribution"])


def many_clients(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Clients that send an image, wait for its map, and send the next; who is told to wait tries again."""
    buffer = io.BytesIO()
    imageio.imwrite(buffer, np.random.default_rng(0).integers(0, 255, (24, 20), dtype=np.uint8), extension=".png")
    content, until = buffer.getvalue(), time.monotonic() + SECONDS * share
    answered: list[float] = []
    whole: list[float] = []
    busy, failures = [0], []

    def client(port: int) -> None:
        with httpx.Client(base_url=f"http://{HOST}:{port}", headers={"X-Vagan-Token": TOKEN}, timeout=60) as asking:
            while time.monotonic() < until:
                begin = time.monotonic()
                try:
                    answer = asking.post("/api/maps", params={"name": "a.png"}, content=content)
                    answered.append(time.monotonic() - begin)
                    if answer.status_code == 429:
                        busy[0] += 1
                        time.sleep(0.5)
                        continue
                    job = answer.json()["id"]
                    while (state := asking.get(f"/api/maps/{job}").json()["state"]) in ("waiting", "working"):
                        time.sleep(0.05)
                    if state != "done":
                        failures.append(f"a map {state}")
                    whole.append(time.monotonic() - begin)
                except Exception as error:  # whatever a client may see
                    failures.append(f"{type(error).__name__}: {error}")

    with serving(load_method(workshop.model), workshop.place("clients"), most_kept=CLIENTS) as port:
        threads = [threading.Thread(target=client, args=(port,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {
        "clients": CLIENTS,
        "maps": len(whole),
        "told to try again": busy[0],
        "answer to an upload, s": {"median": float(np.median(answered)), "95 %": float(np.quantile(answered, 0.95))},
        "upload to map, s": {
            "median": float(np.median(whole or [0])),
            "95 %": float(np.quantile(whole or [0], 0.95)),
        },
        "failures": failures,
    }
