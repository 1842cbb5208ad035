"""Attribution methods; each is a class with ``attribute(images) -> maps``."""

from vagan.attribution.generator import VAGAN as VAGAN
from vagan.attribution.method import AttributionMethod as AttributionMethod
