"""The trained map generator as an attribution method: one forward pass for each image."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from vagan.attribution.method import Convention, preserving
from vagan.data.covariates import Covariate, covariate_numbers
from vagan.effect import Deformation, Output, RawMap, added_effect, baseline_image, deformation, deforms, effect_map
from vagan.errors import ModelError
from vagan.model.folder import ModelSpec, load_model, select_class
from vagan.model.ood import MahalanobisOOD, image_features
from vagan.nn.conditioning import Condition, side_by_side, told
from vagan.nn.unet import MapGenerator
from vagan.types import Images, Maps, Scores


class VAGAN:
    """Visual attribution by a map generator (Baumgartner et al. 2018).

    Parameters
    ----------
    generator
        Network from images to raw maps ``M(x)``.
    output
        How the raw map is applied to the image.
    condition
        What the generator is told about every image, ``(1, conditions)``: of which class of interest it is, where the
        generator knows several. See `vagan.model.folder.select_class`.
    covariates
        What else it must be told of each image before it can make maps; see `knowing`.
    into
        Whether the condition says that the class is to be put in, rather than taken out.
    contrast
        Whether it changes covariates instead of taking a class out; see `changing`.

    Examples
    --------
    >>> import torch
    >>> from vagan.nn.unet import MapGenerator
    >>> method = VAGAN(MapGenerator(2))
    >>> method.attribute(torch.zeros(1, 1, 20, 30)).shape
    torch.Size([1, 1, 20, 30])
    """

    name = "VA-GAN"
    convention: Convention = "signed"

    def __init__(
        self,
        generator: nn.Module,
        *,
        output: Output = "add",
        condition: Condition | None = None,
        covariates: Sequence[Covariate] = (),
        into: bool = False,
        contrast: bool = False,
    ) -> None:
        self._generator, self._output, self._condition = generator, output, condition
        self.covariates, self.into, self.contrast = tuple(covariates), into, contrast
        self.subjects: pd.DataFrame | None = None
        """What it was told of the images that it will get."""
        self.likeness: MahalanobisOOD | None = None
        """What training images look like to the generator, where it was measured."""

    @classmethod
    def load(cls, path: Path | str, *, interest: str = "", into: bool = False) -> tuple["VAGAN", ModelSpec]:
        """Read a run folder or a model folder; of a generator of several classes of interest, name one.

        With ``into`` its maps are of what the class would do to images of the baseline class.
        """
        network, facts = load_model(Path(path))
        if facts.kind != "map-generator":
            raise ModelError(f"{path} holds a {facts.kind}, not a map generator; choose one of the methods for it")
        facts, condition = select_class(facts, interest, insert=into)
        method = cls(
            network,
            output=facts.output,
            condition=condition,
            covariates=facts.covariates,
            into=into,
            contrast=facts.intervention,
        )
        method.likeness = MahalanobisOOD.load(Path(path))
        return method, facts

    def knowing(self, subjects: pd.DataFrame) -> "VAGAN":
        """The same method, for images of which this is known; itself where it needs to know nothing.

        Parameters
        ----------
        subjects
            A row for each image that it will get, in their order, or one row for all; a column for each covariate.

        Raises
        ------
        CohortError
            If a covariate is not known.
        ModelError
            If the generator changes covariates, and must be told what to.
        """
        if not self.covariates:
            return self
        if self.contrast:
            names = ", ".join(covariate.name for covariate in self.covariates)
            raise ModelError(f"this model shows what {names} do: say what is to change with --contrast")
        return self._told(self._condition, subjects, subjects)

    def changing(self, subjects: pd.DataFrame, targets: pd.DataFrame) -> "VAGAN":
        """For images of any class: each as it would look with other covariates; the class is left alone.

        Parameters
        ----------
        subjects, targets
            What is known of the images, see `knowing`, and what they are to look like.

        Raises
        ------
        ModelError
            If the generator was trained without ``training.contrast``.
        """
        if not self.contrast:
            raise ModelError("this map generator cannot change covariates; train one with --preset contrast")
        return self._told(None, subjects, targets)

    def _told(self, task: Condition | None, subjects: pd.DataFrame, targets: pd.DataFrame) -> "VAGAN":
        own, wanted = (torch.from_numpy(covariate_numbers(self.covariates, table)) for table in (subjects, targets))
        condition = side_by_side(task, wanted, wanted - own if self.contrast else None)
        method = VAGAN(self._generator, output=self._output, condition=condition, into=self.into)
        method.subjects, method.likeness = subjects, self.likeness
        return method

    def unlikeness(self, images: Images) -> Scores | None:
        """How far each image is from those of the training, see `MahalanobisOOD`; None where it was not measured."""
        if self.likeness is None or not isinstance(self._generator, MapGenerator):
            return None
        with preserving(self._generator):
            return self.likeness.scores(image_features(self._generator, images))

    def attribute(self, images: Images) -> Maps:
        """Effect of the class of interest in each image, ``x - y``; of a class that is put in, ``y - x``."""
        other = self.counterfactual(images)
        return added_effect(images, other) if self.into else effect_map(images, other)

    def counterfactual(self, images: Images) -> Images:
        """Each image as it would look in the baseline class, or with the class that is put in, ``y``."""
        return baseline_image(images, self.raw_map(images), self._output)

    @property
    def deforms(self) -> bool:
        """Whether the generator moves tissue; see `deformation`."""
        return deforms(self._output)

    def deformation(self, images: Images) -> Deformation:
        """How far the class moved what is now at each place, and the logarithm of what it did to its volume.

        Raises
        ------
        ModelError
            If the generator does not deform images.
        """
        if not self.deforms:
            raise ModelError(
                f"this map generator does not move anything: its output is {self._output!r}; "
                "train one with generator.output=warp or warp+add"
            )
        with torch.no_grad():
            return deformation(self.raw_map(images))

    def raw_map(self, images: Images) -> RawMap:
        """``M(x)``, what the generator makes of the images; `vagan.effect` says how it is applied.

        Raises
        ------
        ModelError
            If there are covariates that the generator must be told, or were those of other images.
        """
        if self.covariates:
            names = ", ".join(covariate.name for covariate in self.covariates)
            raise ModelError(f"this model must know of each image: {names}; say it with --covariates, or `knowing`")
        if self._condition is not None and len(self._condition) not in (1, len(images)):
            raise ModelError(f"{len(images)} images cannot be those of which {len(self._condition)} rows are known")
        with preserving(self._generator), torch.no_grad():
            return told(self._generator, self._condition)(images)
