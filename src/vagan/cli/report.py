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
    """Draw the figures and the page of a results folder.

    Parameters
    ----------
    results
        Folder made by `vagan evaluate`. Leaves report.html, one file that opens anywhere, and figures/. With
        follow-up scans Figures 5 and 6 of the paper are among them, and mean effects as NIfTI beside the maps.
    hide_ids
        Number the subjects instead of naming them.
    atlas
        With follow-up scans: NIfTI file of regions in the template's space; regions.csv gets the effects in them.
    atlas_names
        Table with the columns index and name.
    """
    from vagan.reporting.report import build_report

    print(f"report: {build_report(results, hide_ids=hide_ids, atlas=atlas, atlas_names=atlas_names).resolve()}")
