"""`vagan serve`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    run: Path,
    *,
    method: str = "",
    interest: Annotated[str, Parameter(name="--class")] = "",
    device: str = "auto",
    port: int = 8765,
    largest_mb: int = 512,
) -> None:
    """A page on this machine: drop an image on it, and see its effect.

    Prints the address. It holds a random token, and whoever has it can use the page; other machines cannot reach it.
    Scripts find what they may ask under /api. Images are forgotten when the server stops (Ctrl-C).

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    method
        For a classifier, as in `vagan attribute`.
    interest
        Name of the class of interest; needed where the run knows several.
    device
        auto, cpu, cuda or mps.
    port
        On 127.0.0.1; 0 takes any that is free.
    largest_mb
        Largest file that is taken, in MB.
    """
    from vagan.serving.server import serve_run

    serve_run(run, method=method, interest=interest, device=device, port=port, largest_mb=largest_mb, tell=_tell)


def _tell(address: str) -> None:
    print(f"drop images on {address}\nstop with Ctrl-C", flush=True)
