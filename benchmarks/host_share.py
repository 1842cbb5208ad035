"""What share of a training step is spent outside the networks' arithmetic: reading, batching, logging.

Trains for a few updates with the preset ``fast``, once with the images in memory and once read from the store, and
takes the time inside the updates from that of the whole loop. Writes ``host_share.json`` to ``benchmarks/results``.

    python benchmarks/host_share.py
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import describe_machine

from vagan.data.sources.synthetic import make_cohort
from vagan.training.adversarial import AdversarialTask
from vagan.training.config import load_config
from vagan.training.loop import train

RESULTS = Path(__file__).parent / "results"
FIRST = 2
"""Updates that are not counted: the first ones allocate memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=6, help="generator updates; five of the critic come with each")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    shares = {}
    with TemporaryDirectory() as folder:
        cohort = make_cohort(Path(folder) / "cohort", images=2000)
        for where, memory_mb in (("images in memory", "4096"), ("images read from the store", "0")):
            settings = {
                "training.generator_updates": str(options.updates),
                "training.memory_mb": memory_mb,
                "training.threads": str(options.threads),
                "training.validate_every": "1000",
                "training.checkpoint_seconds": "100000",
                "schedule.consolidation_updates": "0",
            }
            inside, whole = _timed(cohort, Path(folder) / where, settings)
            shares[where] = 1 - inside / whole
            print(f"{where}: {shares[where]:.1%} of {whole:.1f} s outside the networks", flush=True)
    result = {"options": vars(options), "share_outside": shares, **describe_machine()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "host_share.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _timed(cohort, path: Path, settings: dict[str, str]) -> tuple[float, float]:
    """Seconds inside the updates, and from the end of the first ones to the end of the last."""
    spans: list[tuple[float, float]] = []
    update = AdversarialTask.update

    def timed(self, *arguments):
        begin = time.perf_counter()
        terms = update(self, *arguments)
        spans.append((begin, time.perf_counter()))
        return terms

    AdversarialTask.update = timed
    try:
        train(cohort, path, load_config("fast", settings))
    finally:
        AdversarialTask.update = update
    counted = spans[FIRST:]
    return sum(end - begin for begin, end in counted), counted[-1][1] - spans[FIRST - 1][1]


if __name__ == "__main__":
    main()
