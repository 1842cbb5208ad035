"""Whether an image is like those that the map generator was trained on: of others its map means nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vagan.attribution.method import AttributionMethod
from vagan.data.image_file import name_of
from vagan.inference.knowing import generator_of
from vagan.types import Images

MEANS = "distance from the training images in the map generator's features, in their standard deviations"


def describe_likeness(method: AttributionMethod, images: Images) -> dict[str, Any]:
    """What the description of the map of one prepared image says of it; nothing where it was not measured."""
    generator = generator_of(method)
    if generator is None or generator.likeness is None:
        return {}
    distances = generator.unlikeness(images)
    if distances is None:
        return {}
    distance, usual = float(distances[0]), generator.likeness.usual
    return {
        "unlikeness": {
            "means": MEANS,
            "distance": round(distance, 3),
            "below_this_are_99_percent_of_validation_images": round(usual, 3),
            "is_unlike": distance > usual,
        }
    }


def unlike_images(images: Sequence[Path], out: Path) -> list[Path]:
    """Those that are unlike the training images, by the descriptions beside their maps."""
    about = [json.loads((out / f"{name_of(path)}_effect.json").read_text(encoding="utf-8")) for path in images]
    return [path for path, one in zip(images, about, strict=True) if one.get("unlikeness", {}).get("is_unlike")]
