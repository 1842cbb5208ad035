"""What a model says about a batch of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map_only

from vagan.attribution.method import Convention, Unit
from vagan.data.volume import Volume
from vagan.effect import SIGN_INSERTION, Deformation
from vagan.errors import ModelError
from vagan.inference.overlay import COLUMNS, Overlays, Row, contact_sheet, plane, png_of, small_row
from vagan.inference.strategies import ClassDecision, RejectInterval, Uncertainty
from vagan.model.folder import ModelSpec
from vagan.types import Images, Maps, Scores

Array = NDArray[np.float32]
MAX_PLOTTED = 8


def first(values: Tensor) -> Array:
    """Values of the first image of a batch."""
    return values[0].numpy(force=True)


class View(NamedTuple):
    """What a viewer shows of an image: image and map on one grid."""

    image: Array
    """``(channel, *space)`` in [-1, 1]."""
    effect: Array
    """On the same grid; of raw scans, that of the template."""
    affine: NDArray[np.float64] | None
    """Of volumes: voxels to mm."""


@runtime_checkable
class SourceImage(Protocol):
    """The file that an image was read from; knows its preparation and writes maps on its own grid.

    Stems are the folder and the beginning of a file's name.
    """

    @property
    def path(self) -> Path:
        """Of the file."""

    @property
    def volume(self) -> Volume | None:
        """Of a NIfTI file: its grid and header."""

    @property
    def intensity_scale(self) -> float:
        """Prepared intensity times this is the file's own unit."""

    def prepared(self) -> Array:
        """``(channel, *space)`` in [-1, 1], as the network takes it."""

    def write(self, stem: Path, kind: str, values: Array) -> tuple[Path, Array]:
        """Write a map of the prepared image as ``STEM_KIND`` on the file's own grid; returns what was written."""

    def write_effect(self, stem: Path, one: "Attribution", overlays: Overlays) -> tuple[Path, Array]:
        """Write ``STEM_effect`` and ``STEM_counterfactual``; adds the overlay; returns as `write`."""

    def write_displacement(self, stem: Path, field: Array) -> tuple[Array, str]:
        """Write a displacement in pixels as ``STEM_displacement``; returns the vectors as written, and their unit."""

    def view(self, effect: Array) -> View:
        """For a viewer."""

    def describe(self) -> dict[str, Any]:
        """How the image was prepared."""


class SavedMaps(NamedTuple):
    """The maps of one image on disk."""

    path: Path
    """Of the effect."""
    source: Path
    """Of the image."""
    decision: str
    """Name of the predicted class, or ``abstained``; empty where nothing was decided."""
    is_ood: bool
    """Whether the image is out of distribution; False where that was not measured."""
    extrapolations: tuple[str, ...] = ()
    """What is beyond the training's baseline images, such as an age."""


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """Effect of a class in each image of a batch, and all else that the same forward passes say."""

    images: Images
    """Prepared, ``(batch, channel, *space)`` in [-1, 1]."""
    effect: Maps
    """Of the same shape: positive where the class made the image brighter."""
    method: str
    """Display name."""
    unit: Unit
    """Of the effect."""
    convention: Convention
    """How metrics read the effect."""
    sign: str
    """The sign convention in words."""
    spec: ModelSpec | None = None
    """Of the model; its classes are the baseline class and the class of interest, of predicted classes all. None for
    methods of other networks."""
    counterfactual: Images | None = None
    """The images as if of the baseline class, or with an inserted class. None if the unit is not intensity."""
    deformation: Deformation | None = None
    """Of models that deform images, the mean of an ensemble."""
    uncertainty: Uncertainty | None = None
    """Of an ensemble."""
    members: int = 1
    """Number of models whose mean this is."""
    decisions: tuple[ClassDecision, ...] | None = None
    """One for each image where classes are predicted."""
    reject_interval: RejectInterval | None = None
    """Probabilities between which the classifier of predicted classes abstains; None with ``decisions``: it does not
    decide, but maps are multiplied by the probability of the class."""
    ood_score: Scores | None = None
    """See `vagan.model.ood.MahalanobisOOD`; None where the model has no statistics of its training images."""
    ood_threshold: float | None = None
    """Scores above it are out of distribution."""
    covariates: pd.DataFrame | None = None
    """That the model was conditioned on, one row per image."""
    names: tuple[str, ...] = ()
    """File names of the images, identifiers of a cohort, or numbers."""
    sources: tuple[SourceImage, ...] = ()
    """Files that the images are from, if any."""

    def __post_init__(self) -> None:
        for name in ("effect", "counterfactual"):
            values = getattr(self, name)
            if values is not None and not bool(values.isfinite().all()):
                position = [bool(one.isfinite().all()) for one in values].index(False)
                image = self.names[position] if self.names else f"image {position}"
                raise ModelError(
                    f"the {name} of {image} by {self.method} must be finite, but holds NaN or infinity; check the "
                    "model's weights and the covariates"
                )

    @property
    def is_ood(self) -> Bool[Tensor, " batch"] | None:
        """Whether each image is out of distribution; one in a hundred validation images is."""
        if self.ood_score is None or self.ood_threshold is None:
            return None
        return ~(self.ood_score <= self.ood_threshold)  # NaN is out of distribution

    @property
    def inserts(self) -> bool:
        """Whether the effect is that of a class that is inserted."""
        return self.sign == SIGN_INSERTION

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator["Attribution"]:
        """Each image as a batch of one."""
        return (self[position] for position in range(len(self)))

    def __getitem__(self, index: int | slice) -> "Attribution":
        """The same of some of the images; of a single one, as a batch of one."""
        if isinstance(index, int):
            position = range(len(self))[index]
            index = slice(position, position + 1)
        per_image = ("images", "effect", "counterfactual", "decisions", "ood_score", "names", "sources")
        values: dict[str, Any] = {name: getattr(self, name) for name in per_image}
        parts: dict[str, Any] = {name: None if value is None else value[index] for name, value in values.items()}
        for name in ("deformation", "uncertainty"):
            parts[name] = tree_map_only(Tensor, lambda field: field[index], getattr(self, name))
        return replace(self, **parts, covariates=None if self.covariates is None else self.covariates.iloc[index])

    def __repr__(self) -> str:
        optional = ("counterfactual", "deformation", "uncertainty", "decisions", "ood_score", "covariates")
        there = ["effect", *(name for name in optional if getattr(self, name) is not None)]
        return f"Attribution({tuple(self.images.shape)} by {self.method}, unit {self.unit!r}: {', '.join(there)})"

    def save(
        self, folder: Path | str, names: Sequence[str] | None = None, *, threshold: float | None = None
    ) -> list[SavedMaps]:
        """Write ``NAME_effect.npy`` (of NIfTI files: ``.nii.gz``), ``NAME_overlay.png`` and ``NAME_effect.json``.

        Maps lie on the grid of the file that an image came from; all overlays have one colour range. Methods in units
        of intensity add ``_counterfactual``, in [-1, 1], and of pictures a PNG of it; deformations ``_displacement``
        and ``_log-jacobian``, ensembles ``_std`` and ``_sign-agreement``; a ``threshold`` a mask and a table of
        lesions, see `vagan.inference.lesions`. The ``folder`` is made if there is none; files of the same names are
        replaced. ``names`` are by default those of the images; their suffixes are left out where the rest is unique.
        """
        from vagan.inference.files import map_names, save_maps

        unique = map_names(names or self.names)
        with Overlays() as overlays:
            saved = [
                save_maps(one, source, Path(folder), name, overlays=overlays, threshold=threshold)
                for one, source, name in zip(self, self._files(), unique, strict=True)
            ]
            overlays.write()
        return saved

    def view(self) -> View:
        """What a viewer shows of the first image."""
        return self._files()[0].view(self.effect[0].cpu().numpy())

    def _files(self) -> Sequence[SourceImage]:
        from vagan.inference.files import as_files

        return self.sources or as_files(self.images, self.names)

    def plot(self) -> Figure:
        """Up to eight images, counterfactuals and effects side by side; of volumes an axial slice."""
        return contact_sheet([one.row() for one in self[:MAX_PLOTTED]])

    def row(self) -> Row:
        """Of the first image, for a contact sheet: channels averaged, one slice of a volume."""
        fields = dict(zip(COLUMNS, (self.images, self.counterfactual, self.effect), strict=True))
        arrays = {name: field[0].detach().cpu().numpy() for name, field in fields.items() if field is not None}
        if self.images.ndim == 5:  # the axial slice, as radiologists read it
            height = int(np.abs(arrays["effect"]).sum(axis=(0, 1, 2)).argmax())
            arrays = {name: plane(array, 2, height) for name, array in arrays.items()}
        return small_row(self.names[0] if self.names else "", {n: array.mean(axis=0) for n, array in arrays.items()})

    def _repr_png_(self) -> bytes:
        """For notebooks: `plot` of the first image."""
        return png_of(self[:1].plot())
