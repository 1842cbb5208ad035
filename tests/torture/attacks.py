"""What comes in over HTTP: broken, hostile, endless and slow uploads; foreign hosts and other sites."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.testclient import TestClient

from torture.bad_images import GOOD, STRANGE
from torture.bad_volumes import STRANGE as STRANGE_VOLUMES
from torture.bad_volumes import good as volume
from torture.corpus import Workshop
from torture.damages import DAMAGES
from vagan.attribution.registry import LoadedMethod, load_method
from vagan.serving.app import make_app
from vagan.serving.jobs import JobQueue
from vagan.serving.server import attribute

TOKEN = "the-token"
HOST = "127.0.0.1"
LARGEST_BYTES = 2**22
NAMES = (
    "../../bad",
    "/etc/bad",
    "..\\..\\bad",
    "<img src=x onerror=alert(1)>bad",
    "bad\0",
    "=1+1bad",
    "bad" * 200,
    "bad\n",
)


@contextmanager
def client_of(loaded: LoadedMethod, folder: Path) -> Iterator[TestClient]:
    """A client of the application itself."""
    jobs = JobQueue(lambda image, out: attribute(loaded, image, out), folder)
    app = make_app(
        jobs, loaded.facts, loaded.method.name, token=TOKEN, hosts=[f"{HOST}:8765"], largest_bytes=LARGEST_BYTES
    )
    try:
        yield TestClient(app, base_url=f"http://{HOST}:8765", headers={"X-Vagan-Token": TOKEN})
    finally:
        jobs.close()


def uploads(workshop: Workshop, share: float = 1.0) -> dict[str, Any]:
    """Every broken file as an upload, and then what only a network can do."""
    failures: list[str] = []
    rng = np.random.default_rng(0)
    files = {
        f"{suffix} {name}": (f"bad{suffix}", damage(content, rng))
        for suffix, content in {**GOOD, ".nii": volume(".nii"), ".nii.gz": volume(".nii.gz")}.items()
        for name, damage in DAMAGES.items()
    }
    files |= {name: (f"bad{made()[0]}", made()[1]) for name, made in STRANGE.items() if "bomb" not in name}
    files |= {f"NIfTI: {name}": ("bad.nii", made()) for name, made in STRANGE_VOLUMES.items()}
    files |= {f"name {name!r}": (f"{name}.png", b"no picture") for name in NAMES}
    chosen = {name: file for name, file in files.items() if rng.random() < share}
    folder = workshop.place("uploads")
    with client_of(load_method(workshop.model), folder) as client:
        for what, (name, content) in chosen.items():
            failures += [f"{what}: {wrong}" for wrong in _wrong(client, name, content)]
        left = [path for path in folder.rglob("*") if "bad" in path.name]
        failures += [f"a file is called as it came: {path.name}" for path in left]
    networks = {"endless": _endless, "slow": _slow, "foreign": _foreign}
    with serving(load_method(workshop.model), workshop.place("network")) as port:
        for what, attack in networks.items():
            failures += [f"{what}: {wrong}" for wrong in attack(port)]
    return {"uploads": len(chosen), "attacks by network": ", ".join(networks), "failures": failures}


def _wrong(client: TestClient, name: str, content: bytes) -> list[str]:
    answer = client.post("/api/maps", params={"name": name}, content=content)
    if answer.status_code in (400, 413, 415):
        return [] if answer.json()["detail"] else ["no reason"]
    if answer.status_code != 202:
        return [f"status {answer.status_code}"]
    job, deadline = answer.json(), time.monotonic() + 120
    status = job
    while status["state"] in ("waiting", "working") and time.monotonic() < deadline:
        time.sleep(0.005)
        status = client.get(f"/api/maps/{job['id']}").json()
    message = status["message"]
    wrong = [] if status["state"] == "failed" else [f"{status['state']}"]
    wrong += [] if "bad" in message else [f"does not name the file: {message!r}"]
    wrong += ["a path of ours"] if str(client) in message or "/dev/shm" in message or "/tmp/" in message else []
    wrong += ["our own fault"] if "tells why in its terminal" in message else []
    client.delete(f"/api/maps/{job['id']}")
    return wrong


@contextmanager
def serving(loaded: LoadedMethod, folder: Path, **limits: int) -> Iterator[int]:
    """A real server on a free port."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        jobs = JobQueue(lambda image, out: attribute(loaded, image, out), folder, **limits)
        app = make_app(
            jobs, loaded.facts, loaded.method.name, token=TOKEN, hosts=[f"{HOST}:{port}"], largest_bytes=LARGEST_BYTES
        )
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", server_header=False))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = server.force_exit = True
            thread.join(20)


def _head(port: int, *more: str, host: str = "") -> bytes:
    lines = [
        "POST /api/maps?name=bad.png HTTP/1.1", f"Host: {host or f'{HOST}:{port}'}", f"X-Vagan-Token: {TOKEN}", *more
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _endless(port: int) -> list[str]:
    """Chunks that never end are cut off at the limit."""
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(_head(port, "Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 20 * LARGEST_BYTES:
                connection.sendall(b"10000\r\n" + bytes(2**16) + b"\r\n")
                sent += 2**16
        except OSError:
            pass
        return [] if sent < 20 * LARGEST_BYTES else [f"{sent} bytes were taken"]


def _slow(port: int) -> list[str]:
    """Clients that send a byte and no more must not keep others waiting."""
    idle = [socket.create_connection((HOST, port), timeout=60) for _ in range(20)]
    try:
        for connection in idle:
            connection.sendall(_head(port, "Content-Length: 1000") + b"x")
        status = _status(port, _head(port, "Content-Length: 4") + b"nope")
        return [] if status == 202 else [f"another client got {status}"]
    finally:
        for connection in idle:
            connection.close()


def _foreign(port: int) -> list[str]:
    asked = {
        421: _head(port, "Content-Length: 0", host="evil.example"),
        403: _head(port, "Content-Length: 0", "Origin: https://evil.example"),
        401: _head(port, "Content-Length: 0").replace(TOKEN.encode(), b"wrong"),
    }
    found = {wanted: _status(port, request) for wanted, request in asked.items()}
    return [f"status {got} for {wanted}" for wanted, got in found.items() if got != wanted]


def _status(port: int, request: bytes) -> int:
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(request)
        return int(connection.recv(4096).split(b" ")[1])
