"""Hypothetical effects on a simulated scan: the same image, with another part of its volumes due to the disease.

The image stays as it is; only the division of its regions' volumes into normal variation and disease changes. This
gives the constant map (the group's mean change of volumes, drawn on each anatomy) and the effects of the swap test,
see `measures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from vagan.geometry import Grid, move
from vagan.seeding import numpy_generator
from vagan.simulation.base import REGIONS
from vagan.simulation.fields import sample
from vagan.simulation.morphology import REGION_GRID
from vagan.simulation.simulation import PREPARED, Simulation, draw_pose
from vagan.simulation.subject import Subject, Visit


def effect_if(
    simulation: Simulation, subject: Subject, visit: Visit, disease: Mapping[str, float], grid: Grid
) -> Float32[np.ndarray, "1 x y z"]:
    """Exact effect on a prepared scan if the disease had changed the log volumes of `REGIONS` by these amounts."""
    hypothetical = replace(
        visit,
        normal={name: visit.log_volumes[name] - disease.get(name, 0.0) for name in REGIONS},
        disease={name: disease.get(name, 0.0) for name in REGIONS},
    )
    visits = tuple(hypothetical if one is visit else one for one in subject.visits)
    effect = simulation.prepared(replace(subject, visits=visits), hypothetical, grid).effect
    assert effect is not None
    return effect


def mean_disease(diseases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean change of the log volume of each of `REGIONS`; a region that a disease does not name counts as 0."""
    return {name: float(np.mean([disease.get(name, 0.0) for disease in diseases])) for name in REGIONS}


def region_shares(
    simulation: Simulation, subject: Subject, visit: Visit, grid: Grid
) -> Float32[np.ndarray, "region x y z"]:
    """Fraction of each voxel of a prepared scan that each of `REGIONS` fills, in [0, 1]."""
    rng = numpy_generator(simulation.seed, "atrophy scan", subject.number, subject.visits.index(visit))
    simulation.gamma(subject, rng)  # the scan draws its contrast before its pose
    posed = move(draw_pose(rng, PREPARED), grid.coordinates())
    template = simulation.morphology.deformation(visit.log_volumes)(simulation.anatomy(subject)(posed))
    return sample(simulation.morphology.masks, REGION_GRID, template, outside="zeros")
