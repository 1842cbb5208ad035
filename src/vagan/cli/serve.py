"""`vagan serve`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    run: Path,
    *,
    method: str = "",
    class_of_interest: Annotated[str, Parameter(name="--class")] = "",
    device: str = "auto",
    port: int = 8765,
    forwarded_port: int | None = None,
    largest_mb: int = 512,
) -> None:
    """Serve a local page: drop an image on it to see its effect.

    Prints the address, which holds a random token: whoever has it can use the page. Other machines cannot reach it.
    The REST interface is described under /api. Images are deleted when the server stops (Ctrl-C).

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    method
        For a classifier, as in `vagan attribute`.
    class_of_interest
        Name of the class of interest; needed if the model has several.
    device
        auto, cpu, cuda or mps.
    port
        On 127.0.0.1; 0 for any free one.
    forwarded_port
        Port of your own machine that is forwarded to this one, if it is another: 9000 for
        ssh -L 9000:127.0.0.1:8765 HOST. The printed address is then that on your machine.
    largest_mb
        Largest accepted file, in MB.
    """
    from vagan.serving.server import serve_run

    serve_run(
        run,
        method=method,
        class_of_interest=class_of_interest,
        device=device,
        port=port,
        forwarded_port=forwarded_port,
        largest_mb=largest_mb,
    )
