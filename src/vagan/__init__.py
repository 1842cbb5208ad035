"""What does this class look like in this image? Visual feature attribution with Wasserstein GANs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vagan.data.cohort import Cohort as Cohort
    from vagan.data.sources.csv import import_csv as import_csv
    from vagan.data.sources.folder import import_folder as import_folder
    from vagan.data.sources.synthetic import make_synthetic_cohort as make_synthetic_cohort
    from vagan.evaluation.evaluate import evaluate as evaluate
    from vagan.inference.generator import VAGAN as VAGAN
    from vagan.simulation.study import make_atrophy_cohort as make_atrophy_cohort
    from vagan.training.config import load_config as load_config
    from vagan.training.engine.loop import train as train

# imported when first asked for: PyTorch takes seconds, `vagan --help` should not
_HOME = {
    "VAGAN": "vagan.inference.generator",
    "Cohort": "vagan.data.cohort",
    "evaluate": "vagan.evaluation.evaluate",
    "import_csv": "vagan.data.sources.csv",
    "import_folder": "vagan.data.sources.folder",
    "load_config": "vagan.training.config",
    "make_atrophy_cohort": "vagan.simulation.study",
    "make_synthetic_cohort": "vagan.data.sources.synthetic",
    "train": "vagan.training.engine.loop",
}
__all__ = [
    "VAGAN",
    "Cohort",
    "evaluate",
    "import_csv",
    "import_folder",
    "load_config",
    "make_atrophy_cohort",
    "make_synthetic_cohort",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vagan' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
