"""The base of all pipeline steps."""

from pydantic import BaseModel, ConfigDict

from vagan.preprocessing.scan import Facts, Scan


class Step(BaseModel):
    """One change of a scan: its settings, frozen, which are its entry in the record, and how to apply them.

    A step returns the new scan with all its fields consistent: the mask on the image's grid, the grid in the
    scanner's mm before registration and in the template's after it. With this the inverse of any step is known:
    ``resample`` from the new grid to the old one, through ``template_from_scanner`` if it is the registration.

    Examples
    --------
    A step of your own; see `vagan.preprocessing.pipeline.STEPS` for how it is found again when a model is loaded.

    >>> from typing import Literal
    >>> class Invert(Step):
    ...     step: Literal["invert"] = "invert"
    ...
    ...     def apply(self, scan):
    ...         return scan.with_image(-scan.image), {}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: str
    """Its name."""

    def __call__(self, scan: Scan) -> Scan:
        """The changed scan."""
        return self.apply(scan)[0]

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The changed scan, and what was measured on the way."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(scan)")
