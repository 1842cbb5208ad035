"""`vagan report`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(results: Path, *, hide_ids: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Write the report of a results folder: one page and its figures.

    Parameters
    ----------
    results
        Results folder of `vagan evaluate`; gets report.html, which is self-contained, and figures/. Results of
        follow-up scans add Figure 5 of the paper.
    hide_ids
        Number the subjects, and leave out names of files, in the page and its figures; the other files keep them.
    """
    from vagan.reporting.report import build_report

    print(f"report: {build_report(results, hide_ids=hide_ids).resolve()}")
