"""Score maps against what follow-up scans show: the paper's Table 2, with the ceiling that noise sets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod, Convention
from vagan.attribution.registry import METHODS, find_method
from vagan.data.cohort import Cohort
from vagan.data.volume import read_volume, write_volume
from vagan.effect import Deformation
from vagan.errors import ConfigError, OutputError
from vagan.evaluation.evaluate import CEILING, EXAMPLES, Evaluation
from vagan.evaluation.examples import Examples
from vagan.evaluation.longitudinal.folder import (
    MAPS,
    OBSERVED,
    PAIRS,
    TABLE2,
    log_jacobian_path,
    map_path,
    mask_path,
)
from vagan.evaluation.longitudinal.observed import Intensity, observe
from vagan.evaluation.longitudinal.pairs import Pair, Pairs, Rule, find_pairs
from vagan.evaluation.longitudinal.table2 import table2
from vagan.evaluation.metrics.agreement import apply_convention, compared_with, ncc
from vagan.evaluation.results import write_results
from vagan.evaluation.runs import controls_of, interest_of, load_models, methods_of, require_models_for
from vagan.evaluation.statistics import summarise
from vagan.files import replacing
from vagan.inference.attributor import Attributor
from vagan.preprocessing.pack import scan_of, zero_of
from vagan.progress import Bar
from vagan.seeding import numpy_generator
from vagan.training.engine.device import find_device
from vagan.training.engine.run_folder import RunFolder

WHOLE, BRAIN, BY_SUBJECT = "ncc", "ncc_brain", "ncc_brain_by_subject"
"""Over the whole volume, as in the paper; within the brain of both scans; and that as one value for each subject, as
later papers have it."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LongitudinalOptions:
    """How pairs are chosen and their difference is measured."""

    rule: Rule = "first-last"
    intensity: Intensity = "smooth"
    least_months: float = 0.0
    split: str = "test"


@dataclass(frozen=True)
class ObservedFile:
    """An observed effect on disk."""

    pair: Pair
    label: int
    """Of the later scan."""
    case: str
    path: Path

    def read(self) -> tuple[Array, NDArray[np.bool_]]:
        """Effect, and the brain of both scans."""
        effect = read_volume(self.path).array
        return effect, read_volume(mask_path(self.path)).array > 0


def evaluate_longitudinal(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    options: LongitudinalOptions | None = None,
    *,
    methods: Sequence[str] | None = None,
    interest: str = "",
    limit: int | None = None,
    subset: int = 20,
    seed: int = 0,
    device: str = "auto",
) -> str:
    """Compare the maps of the later scans of subjects that changed their class with what changed in them.

    Leaves a results folder like `compare_runs`, and in it ``observed/`` and ``maps/`` as NIfTI, with log-Jacobians of
    generators that deform, ``pairs.csv`` with the subjects that give no pair and why, and ``table2.md``. An observed
    effect that is there from before is kept.

    Parameters
    ----------
    cohort
        Prepared scans; see `find_pairs` for what its manifest needs.
    runs, out, methods, interest, subset, seed, device
        As in `compare_runs`.
    options
        See `LongitudinalOptions`.
    limit
        Take this many random converters, and as many stable subjects.

    Returns
    -------
    str
        Table 2, in Markdown.
    """
    options = options or LongitudinalOptions()
    for name in methods or ():
        find_method(name)
    if out.exists() and not out.is_dir():
        raise OutputError(f"the results folder must be a folder: {out} is a file; choose another name")
    if subset < 1 or (limit is not None and limit < 1):
        raise ConfigError("--limit and --subset must be at least 1")
    wanted, place = list(methods or METHODS), find_device(device)
    models = load_models(runs, cohort, place, interest)
    require_models_for(methods or (), models)
    label = interest_of([model.facts for model in models], cohort)
    pairs = find_pairs(
        cohort.manifest, interest=label, rule=options.rule, least_months=options.least_months, split=options.split
    )
    order = numpy_generator(seed, "converters to score").permutation(len(pairs.converters))[:limit]
    converters = [pairs.converters[place] for place in order]
    files = _observe_all(cohort, [*converters, *pairs.stable[:limit]], out, options.intensity)
    observed, stable = files[: len(converters)], files[len(converters) :]
    compared: dict[str, Attributor | AttributionMethod] = {}
    made, expensive = methods_of(models, wanted)
    compared |= made
    compared |= {method.name: method for method in controls_of(cohort, wanted, label, seed)}
    limits = dict.fromkeys(expensive, subset)
    rows, examples = _score(compared, limits, cohort, observed, maps=out / MAPS, device=place)
    rows = pd.concat([rows, _ceiling(observed, stable)], ignore_index=True)
    evaluation = Evaluation(rows, summarise(rows), {}, {}, examples)
    rules = {
        "selection": "; ".join(sorted({model.facts.rule for model in models})),
        "conventions": {name: method.convention for name, method in compared.items()},
        "truth": f"follow-up minus baseline scan, rigidly aligned within the brain, one mask, intensities: "
        f"{options.intensity}; pairs: {options.rule}; methods without a sign are scored against its size",
        "ceiling": f"from {len(stable)} subjects whose class stayed the same",
    }
    write_results(out, evaluation, cohort, [RunFolder(model.run) for model in models], rules=rules, classifiers={})
    _write_pairs(out / PAIRS, cohort, pairs, {file.pair for file in files})
    text = table2(evaluation.summary, pairs=len(observed), stable=len(stable))
    with replacing(out / TABLE2) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def noise_ceiling(observed_variance: float, noise_variance: float) -> float:
    """Correlation that the exact effect would have with an observed one, which is the effect and independent noise.

    Parameters
    ----------
    observed_variance
        Of the observed effect over voxels.
    noise_variance
        Of differences between scans of subjects whose class stayed the same.

    Returns
    -------
    float
        ``sqrt(1 - noise / observed)``; 0 where there is more noise than change.
    """
    return float(np.sqrt(max(0.0, 1 - noise_variance / observed_variance))) if observed_variance > 0 else 0.0


def _observe_all(cohort: Cohort, pairs: Sequence[Pair], out: Path, intensity: Intensity) -> list[ObservedFile]:
    files = []
    with Bar(len(pairs), "observed effects") as bar:
        for pair in pairs:
            case = _case(cohort, pair)
            path = out / OBSERVED / f"{case}_desc-observed_stat-effect_statmap.nii.gz"
            about = {
                "Sources": [str(cohort.manifest.table["id"][row]) for row in (pair.before, pair.after)],
                "Cohort": cohort.metadata.content_hash,
                "Months": None if np.isnan(pair.months) else round(pair.months, 1),
                "Kind": pair.kind,
                "Intensity": intensity,
            }
            if not _is_there(path, about):
                _observe(cohort, pair, path, about, intensity)
            files.append(ObservedFile(pair, int(cohort.manifest.table["label"][pair.after]), case, path))
            bar.advance()
    return files


def _observe(cohort: Cohort, pair: Pair, path: Path, about: Mapping[str, Any], intensity: Intensity) -> None:
    """Write an observed effect; the sidecar last, so that one that is there is whole."""
    sidecar = _sidecar(path)
    sidecar.unlink(missing_ok=True)
    after = scan_of(cohort, pair.after)
    found = observe(scan_of(cohort, pair.before), after, intensity=intensity, zero=zero_of(cohort, pair.after))
    write_volume(path, found.effect, after.grid.affine)
    write_volume(mask_path(path), found.mask, after.grid.affine)
    write_volume(path.with_name(f"{_case(cohort, pair)}_T1w.nii.gz"), after.image, after.grid.affine)
    with replacing(sidecar) as temporary:
        temporary.write_text(json.dumps({**about, "Found": found.facts}, indent=1) + "\n", encoding="utf-8")


def _is_there(path: Path, about: Mapping[str, Any]) -> bool:
    try:
        known = json.loads(_sidecar(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return path.is_file() and mask_path(path).is_file() and all(known.get(name) == about[name] for name in about)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def _case(cohort: Cohort, pair: Pair) -> str:
    """``sub-002S0295_ses-m24x1p5T_from-blx1p5T``: the later scan, and the earlier one's session."""
    table = cohort.manifest.table
    subject, after, before = (
        "".join(letter for letter in str(text).removeprefix(prefix) if letter.isalnum())
        for prefix, text in (
            ("sub-", pair.subject),
            ("ses-", table["session"][pair.after] or table["id"][pair.after]),
            ("ses-", table["session"][pair.before] or table["id"][pair.before]),
        )
    )
    return f"sub-{subject}_ses-{after}_from-{before}"


def _score(
    compared: Mapping[str, AttributionMethod | Attributor],
    limits: Mapping[str, int],
    cohort: Cohort,
    observed: Sequence[ObservedFile],
    *,
    maps: Path,
    device: torch.device,
) -> tuple[pd.DataFrame, Examples]:
    """Rows of scores, and the first pairs with all maps; the maps of all are written."""
    shown = observed[: min(EXAMPLES, *limits.values(), len(observed))]
    rows: list[dict[str, Any]] = []
    kept: dict[str, list[Array]] = {name: [] for name in compared}
    affine = np.array(cohort.metadata.affine)
    scored = {name: observed[: limits.get(name)] for name in compared}
    with Bar(sum(map(len, scored.values())), "scoring") as bar:
        for name, method in compared.items():
            for file in scored[name]:
                image = cohort.images([file.pair.after]).to(device)
                covariates = cohort.manifest.table.iloc[[file.pair.after]]
                deformation = None
                if isinstance(method, Attributor):
                    attribution = method.attribute(image, covariates)
                    effect, deformation = attribution.effect, attribution.deformation
                else:
                    effect = method.attribute(image, covariates)
                found = effect[0, 0].cpu().numpy()
                rows += _rows(name, file, found, method.convention)
                write_volume(map_path(maps, name, file.case), found, affine)
                _write_log_jacobian(log_jacobian_path(maps, name, file.case), deformation, affine)
                if file in shown:
                    kept[name].append(found)
                bar.advance()
    examples = Examples(
        ids=[file.case for file in shown],
        images=cohort.images([file.pair.after for file in shown]).numpy(),
        effects=np.stack([file.read()[0][None] for file in shown]),
        maps={name: np.stack(found)[:, None] for name, found in kept.items()},
    )
    return _with_subjects(pd.DataFrame(rows)), examples


def _write_log_jacobian(path: Path, deformation: Deformation | None, affine: NDArray[np.float64]) -> None:
    """Of methods that deform; one that is there from another method of the name is removed."""
    path.unlink(missing_ok=True)
    if deformation is not None:
        write_volume(path, deformation.log_jacobian[0, 0].cpu().numpy(), affine)


def _rows(method: str, file: ObservedFile, found: Array, convention: Convention) -> list[dict[str, Any]]:
    effect, mask = file.read()
    truth = compared_with(effect, convention)
    read = apply_convention(found[None, None], convention)[0, 0]
    scores = {
        WHOLE: float(ncc(read[None, None], truth[None, None])[0]),
        BRAIN: float(ncc(read[mask][None, None], truth[mask][None, None])[0]),
        "energy": float(np.abs(found).mean()),
    }
    return [_row(method, file, metric, value) for metric, value in scores.items()]


def _row(method: str, file: ObservedFile, metric: str, value: float) -> dict[str, Any]:
    about = {"case": file.case, "subject": file.pair.subject, "label": file.label}
    return {**about, "method": method, "metric": metric, "value": value}


def _with_subjects(rows: pd.DataFrame) -> pd.DataFrame:
    """And the score within the brain with each subject's pairs as one."""
    within = rows[rows["metric"] == BRAIN].groupby(["method", "subject", "label"], sort=False, as_index=False)
    means = within["value"].mean()
    return pd.concat([rows, means.assign(metric=BY_SUBJECT, case=means["subject"])], ignore_index=True)


def _ceiling(observed: Sequence[ObservedFile], stable: Sequence[ObservedFile]) -> pd.DataFrame:
    """What the exact effect could score, for each pair; no rows where no subject is stable."""
    noise: dict[str, list[float]] = {WHOLE: [], BRAIN: []}
    for file in stable:
        for metric, variance in _variances(file).items():
            noise[metric].append(variance)
    if not stable:
        return pd.DataFrame(columns=["case", "subject", "label", "method", "metric", "value"])
    rows = [
        _row(CEILING, file, metric, noise_ceiling(variance, float(np.mean(noise[metric]))))
        for file in observed
        for metric, variance in _variances(file).items()
    ]
    return _with_subjects(pd.DataFrame(rows))


def _variances(file: ObservedFile) -> dict[str, float]:
    effect, mask = file.read()
    return {WHOLE: float(effect.var()), BRAIN: float(effect[mask].var())}


def _write_pairs(path: Path, cohort: Cohort, pairs: Pairs, used: set[Pair]) -> None:
    table = cohort.manifest.table
    ids, severity = table["id"], table.get("adas13", pd.Series("", index=table.index))
    rows = [
        {
            "subject": pair.subject,
            "case": _case(cohort, pair),
            "kind": pair.kind,
            "before": ids[pair.before],
            "after": ids[pair.after],
            "months": f"{pair.months:.1f}",
            "field_strength": pair.field,
            "adas13": severity[pair.after],
            "reason": "" if pair in used else "not among the --limit that were drawn",
        }
        for pair in [*pairs.converters, *pairs.stable]
    ]
    rows += [{"subject": subject, "kind": "left out", "reason": why} for subject, why in pairs.left_out.items()]
    with replacing(path) as temporary:
        pd.DataFrame(rows).fillna("").to_csv(temporary, index=False)
