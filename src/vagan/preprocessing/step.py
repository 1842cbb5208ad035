"""What a step of the pipeline is."""

from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from vagan.preprocessing.scan import Facts, Scan


class StepModel(BaseModel):
    """Base of all steps: frozen settings, which are the step's entry in the record."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@runtime_checkable
class Step(Protocol):
    """One change of a scan.

    A step returns the new scan with all its fields right for each other: the mask on the image's grid, the grid in
    the scanner's mm before registration and in the template's after it. With this the way back from any step is
    known: ``resample`` from the new grid to the old one, through ``template_from_scanner`` if it is the registration.
    """

    @property
    def step(self) -> str:
        """Its name."""
        ...

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The changed scan, and what was found out on the way."""
        ...
