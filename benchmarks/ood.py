"""Detection of out-of-distribution images by features of the generator.

Uses runs of ``benchmarks/uncertainty.py`` and changes their test images as another scanner or another organ would.
Reports the area under the ROC curve of the out-of-distribution score against unchanged images, and the share above
the 99th percentile of the validation images, at which `vagan attribute` warns. Small volumes are nearly white noise
themselves, so that white noise is in distribution there. Writes ``ood.json`` and ``ood.md`` to
``benchmarks/results``.

    python benchmarks/uncertainty.py && python benchmarks/ood.py
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from study import as_table, keep, named, options_of, with_seeds
from uncertainty import CLEAR, WORK, folder_of, run_of

from vagan.data.cohort import Cohort
from vagan.inference.attributor import Attributor
from vagan.training.ood import fit_ood

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _coarse(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=images.shape), 2, axes=range(2, images.ndim))
    return images.mean() + noise * (images.std() / noise.std())


CHANGES: dict[str, Change] = {
    "unchanged (other half)": lambda images, _: images,
    "white noise, a fifth of the std": lambda images, rng: images + rng.normal(0, 0.2 * images.std(), images.shape),
    "white noise, as much as the std": lambda images, rng: images + rng.normal(0, images.std(), images.shape),
    "blur of one pixel": lambda images, _: ndimage.gaussian_filter(images, 1, axes=range(2, images.ndim)),
    "contrast increased by a third": lambda images, _: images * 4 / 3,
    "linear shading": lambda images, _: images + np.linspace(-0.3, 0.3, images.shape[-1]),
    "white noise only, same mean and std": lambda images, rng: rng.normal(images.mean(), images.std(), images.shape),
    "smooth noise only, same mean and std": _coarse,
    "constant image": lambda images, _: np.full_like(images, images.mean()),
}


def main() -> None:
    options = options_of(__doc__, WORK).parse_args()  # where uncertainty.py kept them
    folder = folder_of(options.work, CLEAR)
    cohort = Cohort(folder / "cohort")
    found: dict[str, dict[str, list[float]]] = {name: {"auc": [], "flagged": []} for name in CHANGES}
    for seed in options.seeds:
        run = run_of(folder, seed)
        fit_ood(run / "model", cohort, "cpu")
        method = Attributor.load(run)
        images = cohort.images(cohort.manifest.indices("test")).numpy()
        half = len(images) // 2
        usual = method.attribute(torch.from_numpy(images[:half])).ood_score.numpy()
        for name, change in CHANGES.items():
            others = change(images[half:], np.random.default_rng(seed)).clip(-1, 1).astype(np.float32)
            attribution = method.attribute(torch.from_numpy(others))
            distances = attribution.ood_score.numpy()
            labels = np.repeat([0, 1], [len(usual), len(distances)])
            found[name]["auc"].append(float(roc_auc_score(labels, np.concatenate([usual, distances]))))
            found[name]["flagged"].append(float(attribution.is_ood.float().mean()))
    keep(named("ood", cohort.shape), {"runs": found}, _markdown(found), out=options.out)
    print(_markdown(found))


def _markdown(found: dict[str, dict[str, list[float]]]) -> str:
    rows = [[name, with_seeds(one["auc"]), f"{np.mean(one['flagged']):.1%}"] for name, one in found.items()]
    return as_table(["test images", "AUC (seeds)", "flagged"], rows)


if __name__ == "__main__":
    main()
