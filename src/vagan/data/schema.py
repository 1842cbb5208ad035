"""Contents of a cohort folder: file names, metadata, and the arrays of one image."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vagan.data.preparation import Preparation
from vagan.files import FolderKind

MANIFEST = "manifest.csv"
STORE = "cohort.zarr"
DROPPED = "dropped.csv"
COHORT = FolderKind((MANIFEST, DROPPED, f"{STORE}/*"), f"{STORE}/zarr.json", '"content_hash"')

ARRAYS = {"images": "image", "effects": "effect", "counterfactuals": "counterfactual", "regions": "regions"}
"""Arrays of the store, and the field of a case that each one holds."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
AffineRow = tuple[Finite, Finite, Finite, Finite]


class CohortMetadata(BaseModel):
    """What is true of all images; the store's attributes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str  #: How the cohort was made, in words.
    preparation: Preparation
    spacing_mm: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    affine: tuple[AffineRow, AffineRow, AffineRow, AffineRow] | None = None  #: Takes voxel indices to mm.
    pipeline: dict[str, list[dict[str, Any]]] | None = None
    """Of scans: the preprocessing that new scans must go through too; see ``vagan.preprocessing``."""
    made_from: str = ""
    """Of scans: digest of the inputs and settings of the prepared files that the cohort was packed from."""
    warnings: tuple[str, ...] = ()  #: What was odd about the images on import, such as several bit depths.
    regions: tuple[str, ...] = ()
    """Names of the regions where the class acts, where the cohort knows them: numbered from 1 in ``regions``."""
    content_hash: str = ""  #: Digest of the table and of every pixel; the same data give the same digest.


@dataclass(frozen=True)
class CohortCase:
    """Prepared arrays of one image, each ``(channel, *space)``."""

    image: NDArray[np.float32]
    effect: NDArray[np.float32] | None = None  #: True or observed effect of the class.
    counterfactual: NDArray[np.float32] | None = None
    """The same image without the effect, prepared by the same rule; gives the ceiling of scores."""
    regions: NDArray[np.float32] | None = None  #: Number of the region that a pixel belongs to, from 1; 0 elsewhere.
