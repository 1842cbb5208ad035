"""Options shared by several commands."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from vagan.constants import MAX_VALUES
from vagan.errors import ConfigError

if TYPE_CHECKING:
    from vagan.data.splits import SubjectLists


@Parameter(name="*")
@dataclass(frozen=True)
class Splitting:
    """How subjects are split into train, validation and test."""

    seed: int = 0
    """Random seed of the split into train, validation and test."""
    test_subjects: Path | None = None
    """File with the test subjects, one per line, e.g. a published list; the others are train and validation."""
    validation_subjects: Path | None = None
    """File with the validation subjects."""

    def lists(self) -> "SubjectLists":
        """The subjects that are listed."""
        from vagan.data.splits import SubjectLists

        return SubjectLists.read(self.test_subjects, self.validation_subjects)


MAX_DIGITS = 9
MAX_EXTENT = 2**16
NEEDS = {
    "reject_interval": ("predict_class", "predicted_classes"),
    "intensities": ("longitudinal",),
    "min_months": ("longitudinal",),
    "raw_spacing_mm": ("raw",),
    "template_mask": ("template",),
}
"""Parameters of verbs without effect unless (one of) the others is given."""


def require_effect(given: Container[str], options: Mapping[str, str]) -> None:
    """Refuse options that would have no effect beside those that are given."""
    for name, needed in NEEDS.items():
        possible = [other for other in needed if other in options]
        if name in given and possible and not any(other in given for other in possible):
            raise ConfigError(f"`{name}` needs `{possible[0]}`")


def parse_size(text: str, *, axes: int | None = None) -> tuple[int, ...]:
    """``112x96`` -> (112, 96); ``axes`` numbers if given, else two or three."""
    parts = text.lower().split("x")
    wanted = (axes,) if axes else (2, 3)
    if len(parts) not in wanted or not all((part.isascii() and part.isdecimal()) and int(part) > 0 for part in parts):
        raise ConfigError(f"a size must read like 112x112 or 64x80x56, found {text!r}")
    size = tuple(int(part[:MAX_DIGITS]) for part in parts)
    if max(size) > MAX_EXTENT or math.prod(size) > MAX_VALUES:
        raise ConfigError(f"a size must have at most {MAX_VALUES} values, found {text!r}; choose a smaller one")
    return size


def parse_interval(text: str) -> tuple[float, float]:
    """``0.3:0.7`` -> (0.3, 0.7); the default for an empty text."""
    from vagan.inference.strategies import REJECT_INTERVAL

    if not text:
        return REJECT_INTERVAL
    try:
        low, high = map(float, text.split(":"))
    except ValueError as error:
        raise ConfigError(f"`reject_interval` must read like 0.35:0.65, found {text!r}") from error
    if not 0 <= low <= high <= 1:
        raise ConfigError(f"`reject_interval` must be two probabilities, the lower one first, found {text!r}")
    return low, high


def parse_settings(settings: list[str]) -> dict[str, str]:
    """``["training.seed=3"]`` -> {"training.seed": "3"}."""
    parsed = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise ConfigError(f"a setting must read like training.seed=3, found {setting!r}")
        parsed[key.strip()] = value.strip()
    return parsed
