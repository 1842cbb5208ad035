"""Quality-control pages of the preprocessing: one per scan and one for the group, from its records."""

import base64
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vagan.data.volume import read_volume
from vagan.files import write_text
from vagan.geometry import Grid, resample
from vagan.preprocessing.derivatives import DerivativePaths, ScanRecord, read_record
from vagan.preprocessing.registration import PACKAGED, load_template
from vagan.preprocessing.runner import Failures, slices_of
from vagan.preprocessing.scan import Scan
from vagan.preprocessing.study import Pages
from vagan.reporting.figures import as_data_uri
from vagan.reporting.page import page_template

GROUP_PAGE = "scans.html"
OUTLINE = (230, 60, 40)
EDGES = (60, 170, 255)
OUTLIER = 3.5
"""Distance from the median, in units of 1.4826 times the median distance from it, that is flagged."""

WORDS = {
    "read": "As read, in RAS+ order",
    "crop-field": "Cropped to the head",
    "strip-skull": "Brain mask (red)",
    "correct-bias": "Bias field corrected (N4)",
    "register": "Registered: the same voxels, in template space",
    "conform": "Resampled to the common grid; edges of the template in blue",
    "rescale": "Rescaled to [-1, 1], the input of the networks",
}
Suspect = Literal["both", "low", "never"]


@dataclass(frozen=True)
class QualityMeasure:
    """A column of the group page."""

    words: str
    decimals: int
    least_spread: float
    """Lower limit of the robust standard deviation: smaller differences are never flagged."""
    suspect: Suspect = "both"


FIGURES = {
    "brain_ml": QualityMeasure("volume of the brain mask, in ml", 0, 30.0),
    "field_sd": QualityMeasure("standard deviation of the log bias field", 3, 0.02),
    "similarity": QualityMeasure("correlation with the template after registration", 3, 0.02, "low"),
    "scale": QualityMeasure("size of the template relative to the brain", 3, 0.01),
    "brain_kept": QualityMeasure("fraction of the brain inside the common grid", 3, 0.005, "low"),
    "seconds": QualityMeasure("processing time", 0, 0.0, "never"),
}


def page_of(place: DerivativePaths) -> Path:
    """Where the page of a scan is."""
    return place.out / f"{place.stem}.html"


def write_scan_page(place: DerivativePaths) -> Path:
    """``sub-X[_ses-Y].html`` beside the subjects' folders."""
    record = read_record(place.record)
    assert record is not None, place.record
    page = page_of(place)
    text = page_template("scan.html.j2", brief=_brief).render(
        stem=place.stem,
        record=record,
        pictures=_pictures(place, record),
        histogram=_histogram(place),
        warnings=_warnings(record),
        group=GROUP_PAGE,
    )
    write_text(page, text)
    return page


def write_group_page(out: Path, places: Sequence[DerivativePaths]) -> Path:
    """``scans.html``: every prepared scan with its quality measures; outliers are flagged."""
    found = [(place, record) for place in places if (record := read_record(place.record)) is not None]
    table = []
    for _, record in found:
        known = {name: value for step in record.steps for name, value in step.get("found", {}).items()}
        table.append({"seconds": record.seconds} | {name: float(known[name]) for name in FIGURES if name in known})
    flags: list[set[str]] = [set() for _ in table]
    for name, figure in FIGURES.items():
        for row in outliers([entry.get(name, np.nan) for entry in table], figure.least_spread, figure.suspect):
            flags[row].add(name)
    rows = [
        {"stem": of.stem, "page": page_of(of).name, "figures": entry, "flags": flag, "warnings": _warnings(record)}
        for (of, record), entry, flag in zip(found, table, flags, strict=True)
    ]
    failed, name = Failures(out).rows(), out.resolve().name
    text = page_template("scans.html.j2").render(rows=rows, figures=FIGURES, failed=failed, name=name)
    write_text(out / GROUP_PAGE, text)
    return out / GROUP_PAGE


def outliers(values: Sequence[float], least_spread: float = 0.0, suspect: Suspect = "both") -> list[int]:
    """Indices of the outliers; none if fewer than five values are finite."""
    array = np.asarray(values, float)
    known = array[np.isfinite(array)]
    if len(known) < 5 or suspect == "never":
        return []
    middle = np.median(known)
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), least_spread)
    if spread == 0:
        return []
    away = (array - middle) / spread
    far = away < -OUTLIER if suspect == "low" else np.abs(away) > OUTLIER  # never so where NaN
    return [int(row) for row in np.flatnonzero(far)]


def _warnings(record: ScanRecord) -> list[str]:
    found = [step["found"] for step in record.steps if "refused" in step.get("found", {})]
    rejected = [f"{one['refused']} found {one['refused_ml']:.0f} ml and was rejected" for one in found]
    return [*record.steps[0].get("warnings", []), *rejected]


def _pictures(place: DerivativePaths, record: ScanRecord) -> list[dict[str, Any]]:
    """Each step of a scan, drawn; none where the slices were not kept, or are damaged."""
    try:
        with np.load(place.slices, allow_pickle=False) as file:
            slices = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return []
    facts = {step["step"]: step for step in record.steps}
    pictures = []
    for name in sorted(key.removesuffix("_image") for key in slices if key.endswith("_image")):
        step = name.split("-", 1)[1]
        edges = _template_edges(place, record) if step == "conform" else None
        drawn = _drawn(slices[f"{name}_image"], slices[f"{name}_mask"], edges)
        entry = facts.get(step, {})
        notes = {key: value for key, value in entry.get("found", {}).items() if key != "matrix"}
        if "seconds" in entry:
            notes["seconds"] = entry["seconds"]
        pictures.append({"words": WORDS.get(step, step), "uri": drawn, "facts": notes})
    return pictures


def _drawn(image: NDArray[np.uint8], mask: NDArray[np.uint8], edges: NDArray[np.bool_] | None) -> str:
    """A PNG as an address that a page holds in itself."""
    from PIL import Image
    from scipy.ndimage import binary_erosion

    colours = np.repeat(image[..., None], 3, axis=-1)
    if edges is not None and edges.shape == image.shape:
        colours[edges] = EDGES
    inside = mask > 127
    colours[inside & ~binary_erosion(inside)] = OUTLINE
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _template_edges(place: DerivativePaths, record: ScanRecord) -> NDArray[np.bool_] | None:
    register = next((step for step in record.steps if step["step"] == "register"), {})
    image = read_volume(place.image)
    template, mask = register.get("template", PACKAGED), register.get("template_mask", "")
    return _edges_on(template, mask, image.array.shape, image.affine.tobytes())


@lru_cache(maxsize=4)
def _edges_on(template: str, mask: str, shape: tuple[int, int, int], affine: bytes) -> NDArray[np.bool_] | None:
    from skimage.feature import canny

    if template != PACKAGED and not os.path.isfile(template):
        return None  # the derivatives may be looked at where the template is not
    brain = load_template(template, mask)
    grid = Grid(shape, np.frombuffer(affine).reshape(4, 4))
    drawn = slices_of("t", Scan(resample(np.where(brain.mask, brain.image, 0), brain.grid, grid), grid))["t_image"]
    return np.asarray(canny(drawn.astype(float), sigma=1.5))


def _histogram(place: DerivativePaths) -> str:
    image, mask = read_volume(place.image).array, read_volume(place.mask).array > 0
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(image[mask], bins=80, range=(-1, 1), color="#1f5f99")
    axes.set(xlabel="intensity inside the brain", yticks=[], xlim=(-1, 1))
    axes.spines[["left", "right", "top"]].set_visible(False)
    return as_data_uri(figure)


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


PAGES = Pages(page_of, write_scan_page, write_group_page)
"""For `vagan.preprocessing.study.prepare_study`."""
