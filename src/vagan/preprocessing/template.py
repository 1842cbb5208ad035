"""The registration template, and the registration step."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vagan.data.volume import read_volume
from vagan.errors import PreprocessingError, require_extra
from vagan.geometry import Grid
from vagan.preprocessing.brain import already_stripped
from vagan.preprocessing.registration import Brain, Dof, register
from vagan.preprocessing.scan import Facts, Scan
from vagan.preprocessing.step import Step

PACKAGED = "mni152"


class Register(Step):
    """Lay the brain onto the template's by a linear map, which from then on is part of the grid."""

    step: Literal["register"] = "register"
    dof: Dof = 7
    """6: rotation and shift. 7: and one scale, as in the authors' code. 12: affine."""
    template: str = PACKAGED
    """``mni152`` (ICBM 2009a symmetric, brain only, from nilearn), or a NIfTI file."""
    template_mask: str = ""
    """The template's brain, where the file shows a whole head."""
    template_hash: str = ""
    """Digest of the template's files, filled in when they are not packaged."""
    least_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Correlation with the template below which the result is not believed: another contrast, or laid wrongly."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The same voxels, now in the template's mm."""
        if scan.mask is None:
            raise PreprocessingError("registration is from brain to brain: put a strip-skull step before it")
        template = load_template(self.template, self.template_mask)
        brain = Brain(scan.image, scan.mask, scan.grid)
        scan_from_template, similarity = register(brain, template, self.dof)
        if similarity < self.least_similarity:
            raise PreprocessingError(
                f"the registered brain must resemble the template (correlation {self.least_similarity:g} or more), "
                f"found {similarity:.2f}; is it T1-weighted? is its mask right?"
            )
        template_from_scan = np.linalg.inv(scan_from_template)
        grid = Grid(scan.grid.shape, template_from_scan @ scan.grid.affine)
        scale = float(np.cbrt(np.linalg.det(template_from_scan[:3, :3])))
        registered = Scan(scan.image, grid, scan.mask, template_from_scan @ scan.template_from_scanner)
        return registered, {"similarity": similarity, "scale": scale, "matrix": template_from_scan.tolist()}


@lru_cache(maxsize=2)
def load_template(template: str, mask: str) -> Brain:
    """Read the template; an error if it is not there."""
    if template == PACKAGED:
        require_extra("mri", "nilearn", what="the packaged template")
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

        image: Any = load_mni152_template(resolution=1)
        grid = Grid(image.shape, np.asarray(image.affine, float))
        inside = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
        return Brain(np.asarray(image.dataobj, np.float32), inside, grid)
    head = read_volume(Path(template))
    grid = Grid(head.array.shape, head.affine)
    if not mask:
        if (head.array == 0).mean() < 0.3:
            raise PreprocessingError(
                f"{template} shows more than a brain, or is not 0 around it; give the brain with --template-mask"
            )
        return Brain(head.array, already_stripped(head.array), grid)
    brain = read_volume(Path(mask)).array > 0
    if brain.shape != head.array.shape:
        raise PreprocessingError(f"{mask} must have the shape of {template}, {head.array.shape}, found {brain.shape}")
    return Brain(head.array, brain, grid)
