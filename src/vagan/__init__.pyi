from .attribution.vagan import VAGAN as VAGAN
from .data.cohort import Cohort as Cohort
from .data.cohort import Selection as Selection
from .data.sources.csv import import_csv as import_csv
from .data.sources.folder import import_folder as import_folder
from .data.sources.synthetic import make_synthetic_cohort as make_synthetic_cohort
from .evaluation.evaluate import EvaluationOptions as EvaluationOptions
from .evaluation.evaluate import evaluate as evaluate
from .inference.attribution import Attribution as Attribution
from .inference.attributor import Attributor as Attributor
from .inference.attributor import fit as fit
from .inference.attributor import load as load
from .simulation.study import make_atrophy_cohort as make_atrophy_cohort
from .training.config import load_config as load_config
from .training.engine.loop import train as train

__version__: str
