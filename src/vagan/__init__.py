"""Visual feature attribution with Wasserstein GANs: the effect of a class in each image."""

from importlib.metadata import version

import lazy_loader as lazy

__version__ = version("vagan")
# the names are those of __init__.pyi, imported when first used: PyTorch takes seconds
__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
