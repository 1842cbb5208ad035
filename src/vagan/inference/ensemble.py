"""Ensembles: the mean over several trainings, and how far they agree."""

from collections.abc import Sequence
from typing import NamedTuple

from vagan.attribution.vagan import Explanation
from vagan.axes import Members, member_mean, member_std, stack_members
from vagan.effect import Deformation
from vagan.types import Maps


class Uncertainty(NamedTuple):
    """Agreement of an ensemble's members, pixel by pixel; see Lakshminarayanan et al., NeurIPS 2017."""

    std: Maps
    """Sample standard deviation of the members' effects, in their unit."""
    sign_agreement: Maps
    """Size of the members' mean sign: from 0, half against half, to 1, all of one sign."""


def mean_explanation(members: Sequence[Explanation]) -> Explanation:
    """Mean effect, counterfactual and deformation over members; the OOD score is the first member's."""
    if len(members) == 1:
        return members[0]
    counterfactuals = [one.counterfactual for one in members if one.counterfactual is not None]
    deformations = [one.deformation for one in members if one.deformation is not None]
    return Explanation(
        member_mean(stack_members(*(one.effect for one in members))),
        member_mean(stack_members(*counterfactuals)) if len(counterfactuals) == len(members) else None,
        Deformation(*(member_mean(stack_members(*fields)) for fields in zip(*deformations, strict=True)))
        if len(deformations) == len(members)
        else None,
        members[0].ood_score,
    )


def uncertainty(members: Sequence[Explanation]) -> Uncertainty | None:
    """Of two or more members."""
    if len(members) == 1:
        return None
    effects = stack_members(*(one.effect for one in members))
    return Uncertainty(member_std(effects), sign_agreement(effects))


def sign_agreement(effects: Members) -> Maps:
    """Size of the mean sign over members, in [0, 1]."""
    return member_mean(effects.sign()).abs()
