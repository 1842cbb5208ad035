"""What does this class look like in this image? Visual feature attribution with Wasserstein GANs."""

from importlib.metadata import version

import lazy_loader as lazy

__version__ = version("vagan")
# the names are those of __init__.pyi, imported when first used: PyTorch takes seconds
__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
