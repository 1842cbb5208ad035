"""Whether an ensemble knows where it is wrong."""

import numpy as np

from vagan.attribution.method import Convention, Covariates, Unit
from vagan.evaluation.metrics.base import CaseMaps, CaseScores, Pixels, for_each_case
from vagan.inference.attributor import Attributor
from vagan.types import Images, Maps


class EnsembleStd:
    """The standard deviation of an ensemble's members as a method of its own."""

    convention: Convention = "absolute"

    def __init__(self, ensemble: Attributor) -> None:
        self.ensemble, self.name, self.cost = ensemble, f"standard deviation of {ensemble.name}", ensemble.cost
        self.unit: Unit = ensemble.unit

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """See `vagan.inference.ensemble.Uncertainty`."""
        spread = self.ensemble.attribute(images, covariates).uncertainty
        assert spread is not None
        return spread.std


def spread_error(spreads: CaseMaps, errors: CaseMaps) -> CaseScores:
    """Rank correlation over the pixels of a case between the members' spread and the error of their mean.

    Parameters
    ----------
    spreads
        Standard deviation over members.
    errors
        ``|map - effect|``.

    Returns
    -------
    CaseScores
        In [-1, 1]; 1 is best: the less the members agree, the larger the error. 0 where either is constant.
    """
    return for_each_case(_spread_error, spreads, errors)


def _spread_error(spread: Pixels, error: Pixels) -> float:
    from scipy.stats import rankdata

    if np.ptp(spread) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(spread), rankdata(error))[0, 1])
