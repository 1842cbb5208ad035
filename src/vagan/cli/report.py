"""`vagan report`."""

from pathlib import Path


def report(results: Path) -> None:
    """Draw the figures and the page of a results folder.

    Parameters
    ----------
    results
        Folder made by `vagan evaluate`. Leaves report.html, one file that opens anywhere, and figures/.
    """
    from vagan.reporting.report import build_report

    print(f"report: {build_report(results).resolve()}")
