"""Templates of self-contained pages, and data and scripts of the interactive viewer in them.

Text is escaped, and nothing is loaded from elsewhere. Images and maps are stored with one byte per pixel, so that
many of them, and volumes, fit in a page. Scores are never computed from these.
"""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from numpy.typing import NDArray

from vagan.inference.overlay import HUES, Array, symmetric_range

SCRIPTS = ("pictures.js", "planes.js", "viewer.js")

LEVELS = 127
HEADROOM = 4.0
"""Maps are stored up to this multiple of their colour range, so that counterfactuals use the strongest values too."""

PAGE_BYTES = 50 * 2**20
"""Limit for all images and maps of a page. Maps of the last methods beyond it are left out, and the methods named."""


def page_template(name: str, **filters: Callable[..., Any]) -> Template:
    """A template of ``reporting/templates`` with additional filters."""
    loader = PackageLoader("vagan.reporting")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.get_template(name)


@dataclass(frozen=True)
class Case:
    """One image with its maps."""

    name: str
    why: str
    """It was selected."""
    image: Array
    """``(channel, *space)``, intensities in [-1, 1]; volumes in RAS+ order."""
    maps: Mapping[str, Array]
    """For each method the effect, of the same shape."""
    scores: Mapping[str, str]
    """For each method a text about this map, if any."""
    affine: NDArray[np.float64] | None = None
    """Of a volume, voxels to mm."""


def viewer_data(
    cases: Sequence[Case], *, units: Mapping[str, str], baseline: str, most_bytes: int = PAGE_BYTES
) -> dict[str, Any]:
    """Everything that ``viewer.js`` shows, ready for JSON, of cases of one number of axes, at least one.

    ``units`` are those of each method's maps: those in ``intensity`` can be subtracted from the image, which then
    looks as if of the class ``baseline``. Methods with maps that do not fit into ``most_bytes`` are in ``left_out``.
    """
    grey = (((case.image.mean(axis=0) + 1) * 127.5).round().clip(0, 255) for case in cases)
    images = [_encoded(image.astype(np.uint8)) for image in grey]
    used = sum(len(text) for text in images)
    methods: list[dict[str, Any]] = []
    left_out = []
    for name in dict.fromkeys(name for case in cases for name in case.maps):
        limit = symmetric_range(np.concatenate([case.maps[name].ravel() for case in cases if name in case.maps]))[1]
        maps = [_encoded_map(case.maps[name], limit) if name in case.maps else None for case in cases]
        for place, entry in enumerate(maps):
            size = len(entry["data"]) if entry else 0
            if methods and used + size > most_bytes:  # the first method is always whole
                maps[place] = None
                left_out.append(name)
            else:
                used += size
        unit = units.get(name, "")
        if any(maps):
            methods.append({"name": name, "limit": limit, "unit": unit, "off": unit == "intensity", "maps": maps})
    return {
        "volumes": cases[0].image.ndim == 4,
        "baseline": baseline,
        "hues": hue_bytes(),
        "cases": [
            {
                "name": case.name,
                "why": case.why,
                "image": image,
                "shape": list(case.image.shape[1:]),
                "affine": None if case.affine is None else case.affine.tolist(),
                "scores": dict(case.scores),
            }
            for case, image in zip(cases, images, strict=True)
        ],
        "methods": methods,
        "left_out": list(dict.fromkeys(left_out)),
    }


def viewer_scripts(*, nonce: str = "") -> Markup:
    """Script elements of the viewer; a page whose policy allows scripts by a nonce passes it."""
    opening = f'<script nonce="{nonce}">' if nonce else "<script>"
    # files of the package, and so markup; nothing of a user's is in them
    return Markup("".join(f"{opening}\n{asset(name)}\n</script>\n" for name in SCRIPTS))


def hue_bytes() -> list[list[int]]:
    """Red, green and blue, from 0 to 255, of positive and of negative effects."""
    return [[round(255 * float(part)) for part in hue] for hue in HUES]


def asset(name: str) -> str:
    """Text of a file of ``reporting/assets``."""
    return files("vagan.reporting").joinpath("assets", name).read_text(encoding="utf-8")


def _encoded_map(effect: Array, limit: float) -> dict[str, Any]:
    values = effect.mean(axis=0)
    scale = (min(float(np.abs(values).max()), HEADROOM * limit) or 1.0) / LEVELS
    return {"scale": scale, "data": _encoded((values / scale).round().clip(-LEVELS, LEVELS).astype(np.int8))}


def _encoded(array: NDArray[np.int8] | NDArray[np.uint8]) -> str:
    """Bytes in C order, compressed, as base64."""
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode("ascii")
