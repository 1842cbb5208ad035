"""What it costs that a classifier decides which class an image is of, and whether its probabilities can be trusted.

Adds a classifier to the trainings of ``benchmarks/covariates.py`` that were told of age, and scores the test images
with known and with predicted labels. Writes ``labels.json`` and ``labels.md`` to ``benchmarks/results``. The same
command again goes on where it stopped.

    python benchmarks/covariates.py && python benchmarks/labels.py
"""

from pathlib import Path

import numpy as np
from study import as_table, keep, named, options_of, settings_of

from vagan.attribution.generator import VAGAN
from vagan.attribution.labels import FOLDER, SURE, Decided, Labeller, decide
from vagan.data.cohort import Cohort
from vagan.evaluation.scores import ncc
from vagan.model_folder import load_model
from vagan.training.accuracy import accuracy_figures
from vagan.training.config import load_config
from vagan.training.loop import train

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
    options = options_of(__doc__, "runs/covariates").parse_args()  # where covariates.py kept them
    cohort = Cohort(options.work / "cohort")
    found = []
    for seed in options.seeds:
        run = options.work / f"told-of-age-{seed}"
        config = load_config(settings={"method": "label-classifier", **SMALL} | settings_of(options, seed))
        train(cohort, run / FOLDER, config)
        found.append({"seed": seed, **_figures(cohort, run)})
        print({key: round(value, 3) for key, value in found[-1].items()}, flush=True)
    result = {
        "band": SURE,
        "runs": found,
    }
    rows = [[str(one["seed"]), *(f"{one[name]:.3f}" for name in SCORES)] for one in found]
    keep(named("labels", cohort.shape), result, as_table(["seed", *SCORES.values()], rows), out=options.out)


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
