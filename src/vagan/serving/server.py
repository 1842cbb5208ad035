"""`vagan serve`: a model in memory, a queue of images, and a web server for this machine only."""

import secrets
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vagan.errors import ConfigError, OutputError, require_extra
from vagan.files import scratch_folder
from vagan.inference.attributor import Attributor
from vagan.reporting.page import Case, viewer_data

HOST = "127.0.0.1"
OUT_OF_DISTRIBUTION = "This image is out of distribution: it differs from training images, and its map may be wrong."


def serve_run(
    run: Path,
    *,
    method: str = "",
    class_of_interest: str = "",
    device: str = "auto",
    port: int = 8765,
    forwarded_port: int | None = None,
    largest_mb: int = 512,
) -> None:
    """Print the address, which holds a new random token, and serve until interrupted, on 127.0.0.1.

    ``run``, ``method``, ``class_of_interest`` and ``device`` are as in `vagan.inference.attributor.Attributor.load`.
    ``port`` 0 takes any that is free; through ``forwarded_port`` a browser on another machine sees it, by ``ssh -L``.
    """
    if largest_mb < 1:
        raise ConfigError(f"`largest_mb` must be at least 1, found {largest_mb}")
    require_extra("serve", "fastapi", "uvicorn", what="vagan serve")
    import uvicorn

    from vagan.serving.app import make_app
    from vagan.serving.guard import Connection
    from vagan.serving.jobs import JobQueue

    attributor = Attributor.load(run, method, class_of_interest=class_of_interest, device=device)
    token = secrets.token_urlsafe(24)
    with scratch_folder("serve") as folder, _listening(port) as listener:
        port = listener.getsockname()[1]
        app = make_app(
            JobQueue(partial(attribute, attributor), folder, most_bytes=4 * largest_mb * 2**20),
            attributor.spec,
            attributor.name,
            token=token,
            hosts=[f"{name}:{seen}" for name in (HOST, "localhost") for seen in {port, forwarded_port or port}],
            largest_bytes=largest_mb * 2**20,
        )
        address = f"http://{HOST}:{forwarded_port or port}/?token={token}"
        print(f"drop images on {address}\nstop with Ctrl-C", flush=True)
        # the access log would hold the token
        config = uvicorn.Config(
            app,
            http=Connection,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run(sockets=[listener])


def attribute(
    attributor: Attributor, image: Path, out: Path, covariates: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write the maps of one image, and return what the viewer shows, with a ``note`` on what to be aware of."""
    attribution = attributor.attribute(image, covariates)
    (saved,) = attribution.save(out)
    view = attribution.view()
    case = Case("", "", view.image, {attribution.method: view.effect}, {}, view.affine)
    data = viewer_data([case], units={attribution.method: attribution.unit}, baseline=attributor.spec.classes[0])
    return data | {"note": " ".join([*saved.extrapolations, *([OUT_OF_DISTRIBUTION] if saved.is_ood else [])])}


def _listening(port: int) -> socket.socket:
    try:
        if port not in range(2**16):
            raise OSError("ports are 0 to 65535")
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OutputError(f"port {port} of {HOST} must be free: {error}; choose another `port`") from error
