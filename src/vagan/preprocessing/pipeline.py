"""The sequence of steps, its record, and its inverse for maps."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from vagan.errors import PreprocessingError
from vagan.files import digest_of, without_folders
from vagan.geometry import Grid, resample
from vagan.preprocessing.brain import StripSkull
from vagan.preprocessing.registration import PACKAGED, Dof, Register, load_template
from vagan.preprocessing.scan import RawScan, Scan, Step
from vagan.preprocessing.steps import Conform, CorrectBias, CropField, Rescale

STEPS: dict[str, type[Step]] = {
    "crop-field": CropField,
    "strip-skull": StripSkull,
    "correct-bias": CorrectBias,
    "register": Register,
    "conform": Conform,
    "rescale": Rescale,
}
"""Steps by their names in a record. Add a step of your own here before you load a cohort or a model made with it."""

Upstream = Literal["raw", "fmriprep", "t1-linear"]  #: What a file went through before.

DONE_UPSTREAM: dict[Upstream, tuple[str, ...]] = {
    "raw": (),
    "fmriprep": ("correct-bias",),
    "t1-linear": ("correct-bias", "register"),
}
"""Steps that the programs of these names have done: N4, and in Clinica the affine registration to MNI152."""

OnStep = Callable[[str, Scan], None]  #: Is shown the scan as read and after each step, for pictures.


def _step_of(entry: Any) -> Step:
    if isinstance(entry, Step):
        return entry
    name = entry.get("step") if isinstance(entry, dict) else None
    if name not in STEPS:
        raise ValueError(f"a step must be one of {', '.join(STEPS)}, found {entry!r}")
    return STEPS[name].model_validate(entry)


AnyStep = Annotated[SerializeAsAny[Step], BeforeValidator(_step_of)]


class Pipeline(BaseModel):
    """Steps in their order. Reading in RAS+ order comes before them all.

    Examples
    --------
    >>> pipeline = Pipeline(steps=(StripSkull(method="none"), CorrectBias(), Conform(spacing_mm=2.6), Rescale()))
    >>> prepared = pipeline.run(read_scan(Path("scan.nii.gz")))  # doctest: +SKIP
    >>> prepared.scan.image  # on pipeline.grid, in [-1, 1]  # doctest: +SKIP
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[tuple[AnyStep, ...], Field(max_length=20)]

    @property
    def key(self) -> str:
        """Digest of all settings: what was made with another key is stale."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()

    @property
    def grid(self) -> Grid:
        """Grid of every prepared scan."""
        for step in self.steps:
            if isinstance(step, Conform):
                return step.grid
        raise PreprocessingError("a pipeline needs the step conform, which gives all scans one grid")

    @property
    def space(self) -> Literal["aligned", "mni"]:
        """What the headers of prepared scans call their space."""
        return "mni" if self.template == PACKAGED else "aligned"

    @property
    def template(self) -> str:
        """What scans are registered to, see `Register`; empty if they are not."""
        return next((step.template for step in self.steps if isinstance(step, Register)), "")

    def run(self, raw: RawScan, *, upstream: Upstream = "raw", on_step: OnStep | None = None) -> "Prepared":
        """Take a scan through the steps that it has not been through.

        Raises the `ImageFileError` or `PreprocessingError` of the first step that cannot do its work.
        """
        scan = raw.scan
        read = {"step": "read", "orientation": raw.volume.orientation_code, "shape": list(scan.grid.shape)}
        spacing_mm = scan.grid.spacing_mm.round(4).tolist()
        record: list[dict[str, Any]] = [read | {"spacing_mm": spacing_mm, "warnings": list(raw.warnings)}]
        if on_step:
            on_step("read", scan)
        fine: Scan | None = None
        for step in self.steps:
            settings = without_folders(step.model_dump(mode="json"))
            if step.step in DONE_UPSTREAM[upstream]:
                record.append(settings | {"skipped": f"done by {upstream}"})
                continue
            begin = time.perf_counter()
            before = scan
            scan, facts = step.apply(scan)
            if step.step == "conform":
                fine = before
            elif fine is not None:
                fine = fine.with_intensities(**facts) if step.step == "rescale" else None
            record.append(settings | {"found": facts, "seconds": round(time.perf_counter() - begin, 3)})
            if on_step:
                on_step(settings["step"], scan)
        return Prepared(scan, raw.scan.grid, record, fine)


@dataclass(frozen=True)
class Prepared:
    """A scan at the end of the pipeline."""

    scan: Scan  #: On the common grid, in [-1, 1].
    raw_grid: Grid  #: Where the raw scan's voxels lie, in RAS+ order.
    record: list[dict[str, Any]]  #: One entry for each step: its settings, what it found, its seconds.
    fine: Scan | None = None
    """The same at the raw scan's resolution, without empty air and the neck; None if it was prepared before, or if
    other steps than the rescaling follow the common grid.
    """

    def to_raw(
        self, values: NDArray[np.float32], grid: Grid | None = None, *, outside: float = 0.0
    ) -> NDArray[np.float32]:
        """A map on the common grid, or on another ``grid`` in the template's space, on the raw scan's: interpolated
        once, ``outside`` where it does not reach.
        """
        own, moved = grid or self.scan.grid, self.scan.template_from_scanner
        return resample(values, own, self.raw_grid, moved, outside=outside)


Preset = Literal["default", "paper"]


def make_pipeline(
    preset: Preset = "default",
    *,
    dof: Dof | None = None,
    strip: str | None = None,
    spacing_mm: float | None = None,
    shape: tuple[int, ...] | None = None,
    template: Path | str | None = None,
    template_mask: Path | str | None = None,
) -> Pipeline:
    """The pipeline of a preset, with single settings replaced.

    ``default``: deepbet, N4 within the brain, registration, 1.3 mm, percentiles of the brain. ``paper``: the tools
    and constants of the paper and its authors' code: N4 in the whole head, ROBEX, 7 degrees of freedom, the 5th and
    95th percentile of the whole volume. Its registration is from brain to brain too, and therefore after ROBEX,
    because the template that is packaged has no skull: a head laid onto it lands 11 to 14 mm off.
    """
    names = (template, template_mask)
    head, mask = (str(Path(name).resolve()) if name and name != PACKAGED else "" for name in names)
    if head:
        load_template(head, mask)  # fails before the first scan if it cannot be used
    digest = digest_of(*(Path(name) for name in (head, mask) if name)) if head or mask else ""
    register = Register(dof=dof or 7, template=head or PACKAGED, template_mask=mask, template_hash=digest)
    given = {"spacing_mm": spacing_mm, "shape": shape}
    try:
        conform = Conform.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        defect = error.errors()[0]
        raise PreprocessingError(f"`spacing_mm` or `shape`: {defect['msg']}; found {defect['input']!r}") from error
    crop = CropField(finest_mm=min(0.65, conform.spacing_mm / 2))
    steps: tuple[Step, ...]
    if preset == "paper":
        bias, strip_skull = CorrectBias(within="head"), StripSkull(method=strip or "robex")
        steps = (crop, bias, strip_skull, register, conform, Rescale(percentiles=(5, 95), within="volume"))
    else:
        steps = (crop, StripSkull(method=strip or "deepbet"), CorrectBias(), register, conform, Rescale())
    return Pipeline(steps=steps)
