"""What it costs that a classifier decides which class an image is of, and whether its probabilities can be trusted.

Adds a classifier to the trainings of ``benchmarks/covariates.py`` that were told of age, and scores the test images
with known and with predicted labels. Writes ``labels.json`` and ``labels.md`` to ``benchmarks/results``. The same
command again goes on where it stopped.

    python benchmarks/covariates.py && python benchmarks/labels.py
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from machine import describe_machine

from vagan.attribution.generator import VAGAN
from vagan.attribution.labels import FOLDER, SURE, Decided, Labeller, decide
from vagan.data.cohort import Cohort
from vagan.evaluation.scores import ncc
from vagan.model_folder import load_model
from vagan.training.accuracy import accuracy_figures
from vagan.training.config import load_config
from vagan.training.loop import train

RESULTS = Path(__file__).parent / "results"
SMALL = {"classifier.width": "8", "classifier.updates": "40", "training.validation_images": "160"}
SCORES = {
    "accuracy": "accuracy",
    "calibration_error_before": "ECE before calibration",
    "calibration_error": "ECE",
    "undecided": "undecided",
    "ncc_known": "NCC of patients, labels known",
    "ncc_predicted": "predicted",
    "controls_known": "mean size of controls' maps, labels known",
    "controls_predicted": "predicted",
}


def main() -> None:
    options = _parse()
    cohort = Cohort(options.work / "cohort")
    found = []
    for seed in options.seeds:
        run = options.work / f"told-of-age-{seed}"
        settings = {"method": "label-classifier", "training.threads": "1", "training.seed": str(seed), **SMALL}
        config = load_config(settings=settings)
        train(cohort, run / FOLDER, config)
        found.append({"seed": seed, **_figures(cohort, run)})
        print({key: round(value, 3) for key, value in found[-1].items()}, flush=True)
    result = {
        "band": SURE,
        "runs": found,
        **describe_machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "labels.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    lines = ["| seed | " + " | ".join(SCORES.values()) + " |", "|---" * (1 + len(SCORES)) + "|"]
    lines += [f"| {one['seed']} | " + " | ".join(f"{one[name]:.3f}" for name in SCORES) + " |" for one in found]
    (options.out / "labels.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/covariates"), help="of benchmarks/covariates.py")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


def _figures(cohort: Cohort, run: Path) -> dict[str, float]:
    method, facts = VAGAN.load(run)
    labeller, uncalibrated = Labeller.load(run, facts.classes), Labeller(load_model(run / FOLDER)[0])
    rows = [cohort.manifest.indices("test", label) for label in (0, 1)]
    images = cohort.images(np.concatenate(rows))
    labels = np.repeat([0, 1], [len(part) for part in rows])
    calibrated, before = (one.probabilities(images).double().numpy()[..., 1] for one in (labeller, uncalibrated))
    told = method.knowing(cohort.manifest.table.iloc[np.concatenate(rows)])
    known, predicted = (one.attribute(images).numpy() for one in (told, Decided([told], labeller)))
    ill, effects = labels == 1, cohort.effects(rows[1]).numpy()
    return {
        **accuracy_figures(calibrated, labels),
        "calibration_error_before": accuracy_figures(before, labels)["calibration_error"],
        "undecided": float(np.mean([decide((1 - p, p)).undecided for p in calibrated])),
        "ncc_known": float(ncc(known[ill], effects).mean()),
        "ncc_predicted": float(ncc(predicted[ill], effects).mean()),
        "controls_known": float(np.abs(known[~ill]).mean()),
        "controls_predicted": float(np.abs(predicted[~ill]).mean()),
    }


if __name__ == "__main__":
    main()
