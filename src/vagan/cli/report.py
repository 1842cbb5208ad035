"""`vagan report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(
    results: Path,
    *,
    hide_ids: Annotated[bool, Parameter(negative=())] = False,
    atlas: Path | None = None,
    atlas_names: Path | None = None,
) -> None:
    """Write the report of a results folder: one page and its figures.

    Parameters
    ----------
    results
        Results folder of `vagan evaluate`; gets report.html, which is self-contained, and figures/. Results of
        follow-up scans add Figures 5 and 6 of the paper, and mean effects as NIfTI.
    hide_ids
        Number the subjects instead of naming them.
    atlas
        Of follow-up scans: NIfTI file of regions in template space; effects by region are written to regions.csv.
    atlas_names
        Table with the columns index and name.
    """
    from vagan.reporting.report import build_report

    print(f"report: {build_report(results, hide_ids=hide_ids, atlas=atlas, atlas_names=atlas_names).resolve()}")
