"""What share of a training step is spent outside the networks' arithmetic: reading, batching, logging.

Trains for a few updates with the preset ``fast``, once with the images in memory and once read from the store, and
takes the time inside the updates from that of the whole loop. Writes ``host_share.json`` to ``benchmarks/results``.

    python benchmarks/host_share.py
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from spans import train_with_spans
from study import keep

from vagan.data.sources.synthetic import make_synthetic_cohort

FIRST = 2
"""Updates that are not counted: the first ones allocate memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=6, help="generator updates; five of the critic come with each")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    shares = {}
    with TemporaryDirectory() as folder:
        cohort = make_synthetic_cohort(Path(folder) / "cohort", n=2000)
        for where, memory_mb in (("images in memory", "4096"), ("images read from the store", "0")):
            settings = {
                "training.generator_updates": str(options.updates),
                "training.memory_mb": memory_mb,
                "training.num_threads": str(options.threads),
                "training.validate_every": "1000",
                "training.checkpoint_seconds": "100000",
                "schedule.distillation_updates": "0",
            }
            inside, whole = train_with_spans(cohort, Path(folder) / where, settings, skip=FIRST)
            shares[where] = 1 - inside / whole
            print(f"{where}: {shares[where]:.1%} of {whole:.1f} s outside the networks", flush=True)
    result = {"options": vars(options), "share_outside": shares}
    keep("host_share", result)


if __name__ == "__main__":
    main()
