"""What it costs that a classifier decides which class an image is of, and whether its probabilities can be trusted.

Adds a classifier to trainings of ``benchmarks/certainty.py``, of images whose class can be seen and of some whose
class is often in doubt, and scores the test images with known and with predicted labels. Writes ``labels.json`` and
``labels.md`` to ``benchmarks/results``. The same command again goes on where it stopped.

    python benchmarks/certainty.py && python benchmarks/labels.py
"""

from pathlib import Path

import numpy as np
from certainty import CLEAR, FAINT, WORK, folder_of, run_of
from study import as_table, keep, named, options_of, settings_of

from vagan.data.cohort import Cohort
from vagan.evaluation.metrics.agreement import ncc
from vagan.inference.attributor import Attributor
from vagan.inference.class_gate import FOLDER, REJECT_INTERVAL, ClassGate, decide
from vagan.model.folder import load_model
from vagan.nn.classification_metrics import binary_metrics
from vagan.training.config import load_config
from vagan.training.engine.loop import train

SMALL = {"classifier.width": "8", "classifier.updates": "40", "training.validation_images": "160"}
SCORES = {
    "accuracy": "accuracy",
    "calibration_error_before": "ECE before calibration",
    "calibration_error": "ECE",
    "undecided": "undecided",
    "ncc_known": "NCC of patients, labels known",
    "ncc_predicted": "predicted",
    "controls_known": "controls' maps, size over that of patients', labels known",
    "controls_predicted": "predicted",
}


def main() -> None:
    options = options_of(__doc__, WORK).parse_args()  # where certainty.py kept them
    found: dict[str, list[dict[str, float]]] = {}
    for name in (CLEAR, FAINT):
        folder, found[name] = folder_of(options.work, name), []
        cohort = Cohort(folder / "cohort")
        for seed in options.seeds:
            run = run_of(folder, seed)
            config = load_config(settings={"method": "label-classifier", **SMALL} | settings_of(options, seed))
            train(cohort, run / FOLDER, config)
            found[name].append({"seed": seed, **_figures(cohort, run)})
            print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
    rows = [
        [name, str(one["seed"]), *(f"{one[score]:.3f}" for score in SCORES)]
        for name, ones in found.items()
        for one in ones
    ]
    table = as_table(["images", "seed", *SCORES.values()], rows)
    keep(named("labels", cohort.shape), {"band": REJECT_INTERVAL, "runs": found}, table, out=options.out)


def _figures(cohort: Cohort, run: Path) -> dict[str, float]:
    known, predicted = Attributor.load(run), Attributor.load(run, predict_class=True)
    uncalibrated = ClassGate(load_model(run / FOLDER)[0])
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
        "undecided": float(np.mean([decide((1 - p, p)).abstained for p in calibrated])),
        "ncc_known": float(ncc(known[ill], effects).mean()),
        "ncc_predicted": float(ncc(predicted[ill], effects).mean()),
        "controls_known": float(np.abs(known[~ill]).mean() / patients),
        "controls_predicted": float(np.abs(predicted[~ill]).mean() / patients),
    }


if __name__ == "__main__":
    main()
