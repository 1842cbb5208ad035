"""What it costs to let a classifier decide the class of an image, and whether it is calibrated.

Adds a classifier to the runs of ``benchmarks/uncertainty.py``, with visible and with faint squares, and scores the
test images with known and with predicted classes. Writes ``class_gate.json`` and ``class_gate.md`` to
``benchmarks/results``. The same command resumes.

    python benchmarks/uncertainty.py && python benchmarks/class_gate.py
"""

from pathlib import Path

import numpy as np
from study import as_table, keep, named, options_of, settings_of
from uncertainty import CLEAR, FAINT, WORK, folder_of, run_of

from vagan.data.cohort import Cohort
from vagan.evaluation.metrics.agreement import ncc
from vagan.inference.attributor import Attributor
from vagan.inference.strategies import CLASS_GATE_FOLDER, REJECT_INTERVAL, ClassGate, decide
from vagan.model.folder import load_model
from vagan.nn.classification_metrics import binary_metrics
from vagan.training.config import load_config
from vagan.training.engine.loop import train

SMALL = {"classifier.width": "8", "classifier.updates": "40", "training.validation_images": "160"}
SCORES = {
    "accuracy": "accuracy",
    "calibration_error_before": "ECE before calibration",
    "calibration_error": "ECE",
    "abstained": "abstained",
    "ncc_known": "NCC of patients, known classes",
    "ncc_predicted": "predicted",
    "controls_known": "M(x0)/M(x1), known classes",
    "controls_predicted": "predicted",
}


def main() -> None:
    options = options_of(__doc__, WORK).parse_args()  # where uncertainty.py kept them
    found: dict[str, list[dict[str, float]]] = {}
    for name in (CLEAR, FAINT):
        folder, found[name] = folder_of(options.work, name), []
        cohort = Cohort(folder / "cohort")
        for seed in options.seeds:
            run = run_of(folder, seed)
            config = load_config(settings={"method": "label-classifier", **SMALL} | settings_of(options, seed))
            train(cohort, run / CLASS_GATE_FOLDER, config)
            found[name].append({"seed": seed, **_figures(cohort, run)})
            print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
    rows = [
        [name, str(one["seed"]), *(f"{one[score]:.3f}" for score in SCORES)]
        for name, ones in found.items()
        for one in ones
    ]
    table = as_table(["images", "seed", *SCORES.values()], rows)
    keep(
        named("class_gate", cohort.shape), {"reject_interval": REJECT_INTERVAL, "runs": found}, table, out=options.out
    )


def _figures(cohort: Cohort, run: Path) -> dict[str, float]:
    known, predicted = Attributor.load(run), Attributor.load(run, predict_class=True)
    uncalibrated = ClassGate(load_model(run / CLASS_GATE_FOLDER)[0])
    rows = [cohort.manifest.indices("test", label) for label in (0, 1)]
    images = cohort.images(np.concatenate(rows))
    labels = np.repeat([0, 1], [len(part) for part in rows])
    calibrated, before = (
        one.probabilities(images).double().numpy()[..., 1] for one in (predicted.gate, uncalibrated)
    )
    known, predicted = (one.effect(images).numpy() for one in (known, predicted))
    ill, effects = labels == 1, cohort.effects(rows[1]).numpy()
    patients = np.abs(known[ill]).mean()
    return {
        **binary_metrics(calibrated, labels),
        "calibration_error_before": binary_metrics(before, labels)["calibration_error"],
        "abstained": float(np.mean([decide((1 - p, p)).abstained for p in calibrated])),
        "ncc_known": float(ncc(known[ill], effects).mean()),
        "ncc_predicted": float(ncc(predicted[ill], effects).mean()),
        "controls_known": float(np.abs(known[~ill]).mean() / patients),
        "controls_predicted": float(np.abs(predicted[~ill]).mean() / patients),
    }


if __name__ == "__main__":
    main()
