"""Whether an ensemble knows where it is wrong."""

import numpy as np

from vagan.evaluation.metrics.base import CaseMaps, CaseScores, Pixels, for_each_case


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
