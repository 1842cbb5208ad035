"""A map generator and what its raw map means, as one network: what leaves for other runtimes."""

from pathlib import Path

from torch import nn

from vagan.effect import Output, baseline_image, effect_map
from vagan.errors import ModelError
from vagan.model.folder import ModelSpec, load_model
from vagan.nn.conditioning import Condition
from vagan.types import Images, Maps


class AppliedGenerator(nn.Module):
    """From prepared images to the images as if of the baseline class, and to the effect of the class.

    Parameters
    ----------
    generator
        Network from images to raw maps.
    output
        How the raw map is applied to the image.
    """

    def __init__(self, generator: nn.Module, output: Output) -> None:
        super().__init__()
        self.generator, self._output = generator, output

    def forward(self, image: Images, condition: Condition | None = None) -> tuple[Images, Maps]:
        """Baseline image ``y`` and effect ``x - y``; a generator of several classes must be told which."""
        raw_map = self.generator(image) if condition is None else self.generator(image, condition)
        baseline = baseline_image(image, raw_map, self._output)
        return baseline, effect_map(image, baseline)


def load_applied(path: Path) -> tuple[AppliedGenerator, ModelSpec]:
    """Read a run folder or a model folder, in evaluation mode on the CPU.

    Raises
    ------
    ModelError
        If it does not hold a map generator, or one that must know of each image more than its class.
    """
    network, facts = load_model(path)
    if facts.kind != "map-generator":
        raise ModelError(
            f"this format takes map generators, but {path} holds a {facts.kind}; export it with --format hub"
        )
    if facts.covariates:
        names = ", ".join(covariate.name for covariate in facts.covariates)
        raise ModelError(
            f"this format has no place for what must be known of each image ({names}); export with --format hub"
        )
    return AppliedGenerator(network, facts.output).eval(), facts
