"""Attribution methods; each is a class with ``attribute(images, covariates=None) -> maps``."""

import lazy_loader as lazy

# the names are those of __init__.pyi, imported when first used: Captum, behind some of them, is slow to import
__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
