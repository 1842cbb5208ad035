"""What a deforming generator says that the class moved and shrank, as files beside the effect map.

``_displacement``: how far the class moved what is now at each place. NIfTI: a vector image in mm towards right, front
and top; else an ``.npy`` of pixels, component i along axis i.
``_log-jacobian``: logarithm of the volume now over the volume before; negative where the class shrank it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod
from vagan.data.image_file import ImageFile
from vagan.data.volume import write_vectors_like
from vagan.files import replacing
from vagan.inference.generator import VAGAN
from vagan.types import Images

DISPLACEMENT, LOG_JACOBIAN = "displacement", "log-jacobian"
IN_MM = "mm towards right, front and top"


def deforming(method: AttributionMethod) -> VAGAN | None:
    """The method, if it knows of deformations."""
    return method if isinstance(method, VAGAN) and method.deforms else None


def write_deformation(method: VAGAN | None, images: Images, file: ImageFile, out: Path) -> dict[str, Any]:
    """Write the deformation of one prepared image on its file's own grid; returns what is to be said of it."""
    if method is None:
        return {}
    field, log_ratio = deformation_arrays(method, images)
    shape, prepared = file.array.shape[1:], field.shape[1:]
    if shape != prepared:  # the image was resized
        from skimage.transform import resize

        scales = np.array(shape) / prepared
        field = np.stack([scale * resize(part, shape, order=1) for scale, part in zip(scales, field, strict=True)])
        log_ratio = resize(log_ratio, shape, order=1)
    file.write_map(out, f"{file.stem}_{LOG_JACOBIAN}", log_ratio[None])
    if file.volume is None:
        with replacing(out / f"{file.stem}_{DISPLACEMENT}.npy") as temporary:
            np.save(temporary, np.moveaxis(field, 0, -1).astype(np.float32))
        return describe_deformation(field, log_ratio, "pixels along each axis")
    vectors = file.volume.vectors_mm(field)
    write_vectors_like(out / f"{file.stem}_{DISPLACEMENT}.nii.gz", vectors, file.volume)
    return describe_deformation(vectors, log_ratio, IN_MM)


def deformation_arrays(method: VAGAN, images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Displacement in pixels ``(dims, *space)`` and log-Jacobian ``space`` of a batch of one."""
    found = method.deformation(images)
    return found.displacement[0].cpu().numpy(), found.log_jacobian[0, 0].cpu().numpy()


def describe_deformation(vectors: NDArray[np.float32], log_ratio: NDArray[np.float32], unit: str) -> dict[str, Any]:
    """What the description of a map says of a deformation ``(dims, *space)`` in this unit."""
    return {
        "deformation": {
            "displacement": f"how far the class moved what is now here, in {unit}",
            "largest_displacement": float(np.linalg.norm(vectors, axis=0).max()),
            "log_jacobian": "logarithm of the volume now over the volume before; negative: the class shrank it",
            "smallest_and_largest_log_jacobian": [float(log_ratio.min()), float(log_ratio.max())],
        }
    }
