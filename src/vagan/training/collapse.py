"""Detection of divergence and collapse of generator or critic."""

from collections.abc import Mapping

from vagan.errors import DivergenceError

STEEPEST = 1000.0
"""Slope of a critic that the penalty no longer holds near one. Where it holds, even the sum over the columns of an
image, which the constraint ``one-axis`` allows, stays far below."""
FLATTEST = 1e-7
LARGEST_MAP = 100.0
SMALLEST_MAP = 1e-5
"""Mean of |M| where intensities range from -1 to 1: no display and no score would show it."""


def require_alive(terms: Mapping[str, float]) -> None:
    """Raise `DivergenceError` if an update's terms show that a network has diverged or its output is constant."""
    size = terms.get("generator/map", 0.0)
    if size > LARGEST_MAP:
        raise DivergenceError(
            f"the map generator has diverged: images lie in [-1, 1], but its mean |M| is {size:.3g}; "
            "lower optimizer.generator_learning_rate"
        )
    slope = terms.get("critic/slope", 1.0)
    if slope > STEEPEST:
        raise DivergenceError(
            f"the critic has diverged: its gradient norm (critic/slope) must stay near 1, but is {slope:.3g}; "
            "lower optimizer.critic_learning_rate or raise loss.gradient_penalty"
        )
    if slope < FLATTEST:
        raise DivergenceError(
            f"the critic has collapsed: its output is constant (critic/slope {slope:.1g}, should be near "
            "1); lower optimizer.critic_learning_rate, and check the images with `vagan check`"
        )


def collapsed_map(figures: Mapping[str, float]) -> str:
    """Warning for a model whose maps are empty; else no text."""
    size = figures.get("validation/map", 1.0)
    if size >= SMALLEST_MAP:
        return ""
    return (
        f"the map has collapsed to zero: mean |M| is {size:.1g} on validation images of the class of interest; "
        "lower loss.map_weight, train longer, or the classes do not differ"
    )
