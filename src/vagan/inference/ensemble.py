"""Several trainings asked together: their mean map, and how far they agree."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vagan.attribution.method import AttributionMethod, Convention
from vagan.axes import member_mean, member_std, stack_members
from vagan.errors import ConfigError
from vagan.types import Images, Maps

Members = Float[Tensor, "member batch channel *space"]


class Ensemble:
    """Mean of the maps of several members, usually the same method of trainings with different seeds.

    Where the members were free to differ, what they agree on comes from the data.

    Parameters
    ----------
    members
        Two or more methods of one convention, whose maps have one unit.

    Raises
    ------
    ConfigError
        If there are fewer, or they mean their maps differently.

    References
    ----------
    Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS 2017.
    """

    def __init__(self, members: Sequence[AttributionMethod]) -> None:
        conventions = sorted({member.convention for member in members})
        if len(members) < 2 or len(conventions) > 1:
            raise ConfigError(
                "an ensemble needs two or more members whose maps are read alike: found "
                f"{len(members)} of {', '.join(conventions) or 'none'}; give runs of the same kind"
            )
        self.members = tuple(members)
        self.name = f"{members[0].name}, mean of {len(members)}"
        self.convention: Convention = members[0].convention

    def attribute(self, images: Images) -> Maps:
        """Mean map of the members."""
        return member_mean(self.maps(images))

    def maps(self, images: Images) -> Members:
        """Each member's maps."""
        return stack_members(*(member.attribute(images) for member in self.members))

    def spread(self, images: Images) -> Maps:
        """Standard deviation of a member's map from the others', at each pixel and in the unit of the maps."""
        return spread(self.maps(images))

    def agreement(self, images: Images) -> Maps:
        """How far the members agree on the sign: from 0, half against half, to 1, all alike."""
        return agreement(self.maps(images))


class Spread:
    """The spread of an ensemble as a method of its own."""

    convention: Convention = "absolute"

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble, self.name = ensemble, f"spread of {ensemble.name}"

    def attribute(self, images: Images) -> Maps:
        """See `Ensemble.spread`."""
        return self.ensemble.spread(images)


def spread(maps: Members) -> Maps:
    """Standard deviation over members, of a sample."""
    return member_std(maps)


def agreement(maps: Members) -> Maps:
    """Size of the mean sign over members, in [0, 1]."""
    return member_mean(maps.sign()).abs()
