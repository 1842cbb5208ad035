"""The trained map generator as an attribution method: one forward pass per image."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vagan import effect
from vagan.attribution.method import Convention, Covariates, Unit, preserving, require_images
from vagan.axes import expand_like, spatial_shape
from vagan.data.covariates import Covariate, encode_covariates
from vagan.effect import Deformation, Output, RawMap
from vagan.errors import ModelError
from vagan.model.ood import MahalanobisOOD, level_means
from vagan.nn.conditioning import Condition, concat_conditions, conditioned
from vagan.nn.unet import MapGenerator
from vagan.types import Images, Maps, Scores

ConditionRows = Float[Tensor, "_ _"]
"""Of each image, or one for all."""


class Explanation(NamedTuple):
    """What one pass of a method says about a batch; None where a method has no such thing."""

    effect: Maps
    counterfactual: Images | None = None
    deformation: Deformation | None = None
    ood_score: Scores | None = None
    ood_threshold: float | None = None


@dataclass(frozen=True, eq=False)
class VAGAN:
    """Visual attribution by a map generator (Baumgartner et al. 2018).

    Parameters
    ----------
    generator
        Network from images to raw maps ``M(x)``.
    output
        How the raw map is applied to the image.
    condition, covariates
        That selects a task, ``(1, tasks)``, see `vagan.model.folder.select_class`, None for a single task; and that
        the generator is conditioned on besides.
    insert
        Whether the task is to insert the class rather than to remove it.
    ood
        Statistics of the training images' features, of which `explain` takes the out-of-distribution score.

    Examples
    --------
    >>> import torch
    >>> from vagan.nn.unet import MapGenerator
    >>> method = VAGAN(MapGenerator(2))
    >>> method.attribute(torch.zeros(1, 1, 20, 30)).shape
    torch.Size([1, 1, 20, 30])
    """

    generator: nn.Module = field(repr=False)
    _: KW_ONLY
    output: Output = "add"
    condition: Condition | None = field(default=None, repr=False)
    covariates: Sequence[Covariate] = ()
    insert: bool = False
    ood: MahalanobisOOD | None = field(default=None, repr=False)

    name = "VA-GAN"
    unit: ClassVar[Unit] = "intensity"
    convention: ClassVar[Convention] = "signed"
    cost = 1

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Effect of the class of interest in each image, ``x - y``; of an inserted class, ``y - x``."""
        return self.explain(images, covariates).effect

    def explain(
        self,
        images: Images,
        covariates: Covariates = None,
        *,
        condition: Condition | None = None,
        weights: Scores | None = None,
    ) -> Explanation:
        """Effect, counterfactual, deformation and out-of-distribution score, all from the same forward pass.

        A condition, ``(batch, tasks)``, selects the task of each image, in place of the method's own. The raw map of
        each image is multiplied by its weight: of a deformation, that is its velocity.
        """
        raw_map, score = self._forward(images, self._conditions(len(images), covariates, condition))
        if weights is not None:
            raw_map = raw_map * expand_like(weights, raw_map)
        counterfactual = effect.counterfactual_image(images, raw_map, self.output)
        found = (effect.added_effect if self.insert else effect.effect_map)(images, counterfactual)
        moved = None
        if effect.deforms(self.output):
            with torch.no_grad():
                moved = effect.deformation(raw_map, insert=self.insert)
        return Explanation(found, counterfactual, moved, score, None if self.ood is None else self.ood.threshold)

    def raw_map(self, images: Images, covariates: Covariates = None) -> RawMap:
        """``M(x)``, the generator's output; `vagan.effect` says how it is applied."""
        return self._forward(images, self._conditions(len(images), covariates, None))[0]

    def _forward(self, images: Images, condition: ConditionRows | None) -> tuple[RawMap, Scores | None]:
        require_images(images)
        network = self.generator
        with preserving(network), torch.no_grad():
            if self.ood is None or not isinstance(network, MapGenerator):
                return conditioned(network, condition)(images), None
            levels = network.encoded(images)
            rows = None if condition is None else condition.expand(len(images), -1).to(images.device)
            return network.decoded(levels, spatial_shape(images), rows), self.ood.scores(level_means(levels))

    def _conditions(self, count: int, covariates: Covariates, condition: Condition | None) -> ConditionRows | None:
        numbers = None
        if self.covariates:
            if covariates is None:
                names = ", ".join(covariate.name for covariate in self.covariates)
                raise ModelError(f"missing covariates: the model is conditioned on {names}")
            numbers = torch.from_numpy(encode_covariates(self.covariates, covariates))
        rows = concat_conditions(self.condition if condition is None else condition, numbers)
        if rows is not None and len(rows) not in (1, count):
            raise ModelError(f"covariates need one row per image, or one for all: {len(rows)} rows, {count} images")
        return rows
