"""Maps for a classifier of your own, scored by this package, by Captum's metrics and by Quantus.

    python examples/score_with_other_toolkits.py
    python examples/score_with_other_toolkits.py --cohort COHORT --run RUN    # with a trained map generator as well

Quantus has the LGPL and is no part of this package; without it, its columns are left out.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from vagan import Attributor, Cohort, make_synthetic_cohort
from vagan.attribution import AttributionMethod
from vagan.attribution.controls import RandomSmoothMap
from vagan.attribution.gradients import GuidedBackpropagation, IntegratedGradients
from vagan.attribution.perturbation import Occlusion
from vagan.evaluation.metrics.agreement import relevance_mass, relevance_rank
from vagan.seeding import seeded

try:
    import quantus
except ImportError:
    quantus = None

CLASS = 1
BACKGROUND = -1.0
Make = Callable[[nn.Module, int], AttributionMethod]
METHODS: dict[str, Make] = {
    "integrated gradients": IntegratedGradients,
    "guided backprop": GuidedBackpropagation,
    "occlusion": Occlusion,
    "random map": lambda *_: RandomSmoothMap(),  # what chance scores
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="images of the synthetic cohort")
    parser.add_argument("--updates", type=int, default=300, help="updates of the classifier")
    parser.add_argument("--scored", type=int, default=20, help="test images that are scored")
    parser.add_argument("--cohort", help="2-D cohort with known effects, instead of the synthetic one")
    parser.add_argument("--run", help="run folder of a map generator that was trained on that cohort")
    options = parser.parse_args(arguments)
    methods = dict(METHODS)
    if options.run:
        if not options.cohort:
            parser.error("a map generator knows only images like those it was trained on; give their --cohort too")
        generator = Attributor.load(options.run)
        methods[generator.name] = lambda *_: generator.methods[0]

    with tempfile.TemporaryDirectory() as folder, seeded(0, "example"):
        synthetic = {"n": options.images, "size": (48, 40)}
        cohort = Cohort(options.cohort) if options.cohort else make_synthetic_cohort(folder, **synthetic)
        model = train_classifier(cohort, options.updates)
        print(f"The classifier is right on {accuracy(model, cohort):.3f} of the test images.\n")
        chosen = cohort.manifest.indices("test", label=CLASS)[: options.scored]
        images, effects = cohort.images(chosen), cohort.effects(chosen).numpy()
        scores = {name: score(model, make, images, effects) for name, make in methods.items()}
    print(pd.DataFrame(scores).T.to_string(float_format="{:.3f}".format, na_rep="-"))
    if quantus is None:
        print("\nFor the scores of Quantus as well: pip install quantus")
    else:
        print("\nBoth packages agree on mass, and on rank in images where no two pixels tie for the last place.")


def train_classifier(cohort: Cohort, updates: int) -> nn.Module:
    """Any module from images to logits will do; guided backpropagation needs its ReLUs to be modules too."""
    features = [nn.Conv2d(cohort.channels, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 5), nn.ReLU()]
    model = nn.Sequential(*features, nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(32 * 4 * 4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, labels = images_and_labels(cohort, "train")
    for _ in range(updates):
        batch = torch.randint(len(images), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, cohort: Cohort) -> float:
    images, labels = images_and_labels(cohort, "test")
    return float((model(images).argmax(dim=1) == labels).float().mean())


def images_and_labels(cohort: Cohort, split: str) -> tuple[Tensor, Tensor]:
    rows = cohort.manifest.indices(split)
    return cohort.images(rows), torch.tensor(cohort.manifest.table["label"].to_numpy()[rows])


def score(model: nn.Module, make: Make, images: Tensor, effects: np.ndarray) -> dict[str, float]:
    """Mean of each score over the images. Of Captum's two, infidelity and sensitivity, less is better."""
    method = make(model, CLASS)
    maps = method.attribute(images)
    scores = {"mass": relevance_mass(maps.numpy(), effects), "rank": relevance_rank(maps.numpy(), effects)}
    if method.unit != "intensity":  # its map says what is in the image, not what the model makes of it
        hide = hide_blocks(gradient=isinstance(method, GuidedBackpropagation))
        # normalised, because maps come in different units
        scores["infidelity"] = infidelity(model, hide, images, maps, target=CLASS, normalize=True).numpy(force=True)
    # Captum hands over a tuple of inputs, and wants one of maps: a bare tensor would be taken for a tuple of images
    scores["sensitivity"] = sensitivity_max(lambda inputs: (method.attribute(inputs[0]),), images).numpy()
    if quantus is not None:
        scores |= quantus_scores(model, make, images, effects)
        scores["ties"] = last_place_is_shared(maps.numpy(), effects)
        check_agreement(scores)
    return {name: float(values.mean()) for name, values in scores.items()}


def hide_blocks(*, gradient: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Perturbation for Captum's infidelity: background in a random fifth of the image.

    Infidelity compares the sum of ``perturbation * map`` with what the logit loses. The perturbation is what was
    taken away if the map is a gradient, and 1 where anything was taken away if the map holds shares of the logit.
    """

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        blocks = (torch.rand(len(images), 1, 6, 5) < 0.2).to(images)
        hidden = nn.functional.interpolate(blocks, images.shape[2:]).expand_as(images)
        taken = hidden * (images - BACKGROUND)
        return taken if gradient else hidden, images - taken

    return perturb


def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, *, make: Make, **_: object) -> np.ndarray:
    """Quantus' ``explain_func``. The method is made anew each time: some metrics pass a randomised model."""
    maps = np.empty_like(inputs)
    for target in np.unique(targets):
        chosen = targets == target
        maps[chosen] = make(model, int(target)).attribute(torch.as_tensor(inputs[chosen])).numpy(force=True)
    return maps


def quantus_scores(model: nn.Module, make: Make, images: Tensor, effects: np.ndarray) -> dict[str, np.ndarray]:
    """All three read ``|map|``, as this package does; by default the first two let signs cancel."""
    metrics = {
        "mass, Quantus": quantus.RelevanceMassAccuracy(abs=True, normalise=False, disable_warnings=True),
        "rank, Quantus": quantus.RelevanceRankAccuracy(abs=True, normalise=False, disable_warnings=True),
        "sparseness, Quantus": quantus.Sparseness(abs=True, disable_warnings=True),
    }
    data = {"x_batch": images.numpy(), "y_batch": np.full(len(images), CLASS), "s_batch": effects != 0}
    how = {"channel_first": True, "batch_size": len(images), "explain_func": explain}
    return {
        name: np.array(metric(model=model, **data, **how, explain_func_kwargs={"make": make}))
        for name, metric in metrics.items()
    }


def last_place_is_shared(maps: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Whether rank depends on which of equally strong pixels count; occlusion gives many pixels one value.

    Quantus takes those that its sort puts first, this package the mean over all choices.
    """
    falling = -np.sort(-np.abs(maps).reshape(len(maps), -1), axis=1)
    places = (effects != 0).reshape(len(maps), -1).sum(axis=1)
    each = np.arange(len(maps))
    return falling[each, places - 1] == falling[each, places]


def check_agreement(scores: dict[str, np.ndarray]) -> None:
    """Stop if the two packages differ where their definitions are the same."""
    np.testing.assert_allclose(scores["mass"], scores["mass, Quantus"], rtol=1e-5)  # theirs adds up in float32
    clear = ~scores["ties"]
    np.testing.assert_allclose(scores["rank"][clear], scores["rank, Quantus"][clear], rtol=1e-12)


if __name__ == "__main__":
    main()
