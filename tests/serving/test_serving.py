"""The local server: who may ask, what is taken, what comes back, and what never does."""

import asyncio
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("httpx2", reason="needs the extra dev")
from starlette.testclient import TestClient

from models import save_random_generator
from vagan.data.covariates import Covariate
from vagan.errors import OutputError
from vagan.inference.attributor import Attributor
from vagan.serving.app import make_app
from vagan.serving.jobs import JobQueue, QueueFullError
from vagan.serving.server import _listening, attribute

TOKEN = "the-token"
HOST = "127.0.0.1:8765"
LARGEST = 50_000
NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A map generator with random weights, whose maps are not zero."""
    return Attributor.load(
        save_random_generator(tmp_path_factory.mktemp("model"), classes=(f"healthy {NASTY}", "ill"))
    )


@pytest.fixture
def client_of(tmp_path, loaded):
    """Clients of a server that does ``work``."""
    opened = []

    def made(work=lambda image, out: attribute(loaded, image, out), **limits):
        jobs = JobQueue(work, tmp_path, **limits)
        app = make_app(
            jobs, loaded.spec, loaded.name, token=TOKEN, hosts=[HOST, "localhost:8765"], largest_bytes=LARGEST
        )
        client = TestClient(app, base_url=f"http://{HOST}", headers={"X-Vagan-Token": TOKEN})
        opened.append(jobs)
        return client

    yield made
    for jobs in opened:
        jobs.close()


@pytest.fixture
def client(client_of):
    return client_of()


def picture(shape=(21, 17)) -> bytes:
    buffer = io.BytesIO()
    imageio.imwrite(buffer, np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8), extension=".png")
    return buffer.getvalue()


def as_npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def finished(client, job):
    """Wait for a job."""
    for attempt in range(600):
        status = client.get(f"/api/maps/{job['id']}").json()
        if status["state"] in ("done", "failed"):
            return status
        time.sleep(min(0.01 * 1.5**attempt, 0.5))
    raise AssertionError("the job did not end")


def send(client, content, name="scan.png"):
    return client.post("/api/maps", params={"name": name}, content=content)


def test_an_image_goes_in_and_its_map_comes_out(client, loaded, tmp_path):
    content = picture()
    answer = send(client, content)
    assert answer.status_code == 202
    status = finished(client, answer.json())
    assert (status["state"], status["name"]) == ("done", "scan.png")
    assert status["files"] == ["counterfactual.npy", "counterfactual.png", "effect.json", "effect.npy", "overlay.png"]
    result = client.get(f"/api/maps/{status['id']}/files/effect.npy")
    assert 'filename="scan_effect.npy"' in result.headers["content-disposition"]
    import torch

    image = imageio.imread(content).astype(np.float32)[None, None] / 255 * 2 - 1
    expected = loaded.effect(torch.from_numpy(image))[0, 0]
    assert expected.abs().max() > 0.01
    np.testing.assert_allclose(np.load(io.BytesIO(result.content)), expected, atol=1e-5)
    view = client.get(f"/api/maps/{status['id']}/view").json()
    assert view["cases"][0]["shape"] == [21, 17]
    assert [method["off"] for method in view["methods"]] == [True]


@pytest.mark.parametrize("path", ["/", "/api", "/api/openapi.json", "/api/model", "/api/maps/x", "/nothing"])
def test_nothing_is_told_without_the_token(client, path):
    for headers in ({"X-Vagan-Token": ""}, {"X-Vagan-Token": "wrong"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert "token" in answer.json()["detail"]
    assert send(TestClient(client.app, base_url=f"http://{HOST}"), picture()).status_code == 401
    own = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/model", headers=own).json()["classes"][1] == "ill"
    assert client.get("/", params={"token": TOKEN}, headers={"X-Vagan-Token": ""}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", ""])
def test_foreign_hosts_are_refused(client, host):
    assert client.get("/api/model", headers={"Host": host}).status_code == 421
    assert client.get("/api/model", headers={"Host": "localhost:8765"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused_even_with_the_token(client, headers):
    assert client.get("/api/model", headers=headers).status_code == 403
    assert client.post("/api/maps?name=a.png", content=picture(), headers=headers).status_code == 403
    # nor does the answer to a browser's question before that allow anything
    asked = client.options("/api/maps", headers={**headers, "Access-Control-Request-Method": "POST"})
    assert asked.status_code == 403
    assert not [name for name in asked.headers if name.lower().startswith("access-control")]


FORBIDS = {
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def test_every_answer_forbids_caching_framing_and_guessing(client):
    for path in ("/", "/api", "/api/model", "/nothing"):
        assert FORBIDS.items() <= dict(client.get(path).headers).items()
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("lied", [False, True])
def test_uploads_that_are_too_large_are_refused_and_leave_nothing(client, tmp_path, lied):
    content = b"x" * (LARGEST + 1)
    answer = send(client, (content[at : at + 999] for at in range(0, len(content), 999)) if lied else content)
    assert answer.status_code == 413
    assert "too large" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"  # it might never end
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [400, 408])
def test_who_goes_away_or_stalls_leaves_nothing_and_no_traceback(client, tmp_path, monkeypatch, code):
    monkeypatch.setattr("vagan.serving.app.UPLOAD_S", 0.05 if code == 408 else 60)
    parts = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    scope = {
        "type": "http", "method": "POST", "path": "/api/maps", "query_string": b"name=a.png", "http_version": "1.1",
        "headers": [(b"host", HOST.encode()), (b"x-vagan-token", TOKEN.encode())],
    }  # fmt: skip
    answers = []

    async def receive():
        if len(parts) == 1 and code == 408:
            await asyncio.sleep(60)
        return parts.pop(0)

    async def send_back(message):
        answers.append(message)

    asyncio.run(client.app(scope, receive, send_back))
    assert answers[0]["status"] == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("notes.txt", b"text", 415, "must be one of"),
        ("a.png", b"", 400, "empty"),
        ("a.nii.gz", b"no volume", 0, "a.nii.gz cannot be read as NIfTI"),
        ("a.npy", b"\x93NUMPY", 0, "a.npy cannot be read as a NumPy array"),
        ("<b>bold.png", b"no picture", 0, "<b>bold.png cannot be read"),
        ("volume.npy", as_npy(np.random.default_rng(0).normal(size=(5, 6, 7))), 0, "volume.npy is a 3-D image"),
    ],
)
def test_bad_files_get_a_sentence_that_names_them_and_no_path_of_ours(client, name, content, code, message):
    answer = send(client, content, name)
    if code:
        assert answer.status_code == code
        assert message in answer.json()["detail"]
        return
    status = finished(client, answer.json())
    assert status["state"] == "failed"
    assert message in status["message"]
    assert status["message"].startswith(status["name"])  # not with a path of ours
    assert "/" not in status["message"].split(":")[0]
    assert send(client, picture()).status_code == 202  # and the next one is taken


def test_an_error_of_our_own_is_told_without_its_details(client_of, caplog):
    def broken(image, out):
        raise RuntimeError("the secret")

    client = client_of(broken)
    status = finished(client, send(client, picture()).json())
    assert status["state"] == "failed"
    assert "secret" not in status["message"]
    assert "the secret" in caplog.text


@pytest.mark.parametrize("path", ["../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/image.png", "/etc/passwd",
                                  "image.png", "out/effect.npy", "%00"])  # fmt: skip
def test_only_results_can_be_asked_for(client, path):
    status = finished(client, send(client, picture()).json())
    assert client.get(f"/api/maps/{status['id']}/files/{path}").status_code == 404
    assert client.get(f"/api/maps/{path}").status_code == 404


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "a/b/evil.png"])
def test_names_of_uploads_lead_nowhere(client, tmp_path, name):
    status = finished(client, send(client, picture(), name).json())
    assert status["name"] == "evil.png"
    assert status["state"] == "done"
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"out"}  # the upload was deleted when its map was made


def test_images_wait_in_one_line_and_the_line_is_short(client_of):
    running, release, order = threading.Event(), threading.Event(), []

    def work(image, out):
        running.set()
        assert release.wait(60)
        out.mkdir()
        order.append(image.parent.name)
        return {}

    client = client_of(work, most_waiting=2)
    first = send(client, picture(), "a.png").json()
    assert running.wait(60)
    others = [send(client, picture(), name).json() for name in ("b.png", "c.png")]
    assert [client.get(f"/api/maps/{job['id']}").json()["ahead"] for job in (first, *others)] == [0, 1, 2]
    refused = send(client, picture(), "d.png")
    assert refused.status_code == 429
    assert "2 images" in refused.json()["detail"]
    assert client.get(f"/api/maps/{first['id']}/view").status_code == 409
    assert client.delete(f"/api/maps/{first['id']}").status_code == 409
    release.set()
    assert finished(client, others[1])["state"] == "done"
    assert order == [job["id"] for job in (first, *others)]


def test_results_are_forgotten_when_asked_and_uploads_are_bounded(client_of, tmp_path):
    client = client_of(lambda image, out: out.mkdir() or {}, most_kept=2)
    jobs = [send(client, picture()).json() for _ in range(4)]
    finished(client, jobs[-1])
    time.sleep(0.2)
    assert [client.get(f"/api/maps/{job['id']}").status_code for job in jobs] == [404, 404, 200, 200]
    assert client.delete(f"/api/maps/{jobs[2]['id']}").status_code == 204
    assert {path.name for path in tmp_path.iterdir()} == {jobs[3]["id"]}
    (tmp_path / "other").mkdir()
    queue = JobQueue(lambda image, out: {}, tmp_path / "other", most_waiting=2, most_bytes=100)
    first, second = queue.prepare("a.png", ".png"), queue.prepare("b.png", ".png")
    with pytest.raises(QueueFullError, match="2 images"):
        queue.prepare("c.png", ".png")
    queue.reserve(first, 60)
    with pytest.raises(QueueFullError, match="MB"):
        queue.reserve(second, 41)
    queue.discard(second)
    queue.reserve(first, 40)
    assert {path.name for path in (tmp_path / "other").iterdir()} == {first.id}
    queue.close()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of a server in its own process, which stops on SIGHUP."""
    run = save_random_generator(tmp_path_factory.mktemp("served"))
    scratch = tmp_path_factory.mktemp("scratch")
    (scratch / "vagan-tmp-serve-killed01").mkdir()
    (scratch / "vagan-serve-of-the-user").mkdir()
    short = "import vagan.serving.guard as g; g.HEADER_S, g.MAX_CONNECTIONS = 1, 3; from vagan.cli.app import main; "
    with _listening(0) as free:
        number = free.getsockname()[1]
    ports = f"'--port', '{number}', '--forwarded-port', '9000'"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{short}main(['serve', {str(run)!r}, {ports}, '--device', 'cpu'])"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(scratch)},
    )  # fmt: skip
    assert "http://127.0.0.1:9000/?token=" in process.stdout.readline()
    names = {path.name for path in scratch.glob("vagan-*")}
    assert "vagan-tmp-serve-killed01" not in names, "what a dead server left is swept"
    assert len(names) == 2
    yield number
    process.send_signal(signal.SIGHUP)
    process.stdout.close()
    assert process.wait(60) == 130
    assert {path.name for path in scratch.glob("vagan-*")} == {"vagan-serve-of-the-user"}


def test_connections_without_a_request_are_closed_and_few(port):
    slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(5)]
    for connection in slow[:3]:
        connection.sendall(b"GET / HTTP/1.1\r\n")
    begin = time.monotonic()
    assert [connection.recv(1) for connection in slow[3:]] == [b"", b""]
    assert [connection.recv(1) for connection in slow[:3]] == [b""] * 3
    assert time.monotonic() - begin > 0.5  # those within the limit had their time
    for connection in slow:
        connection.close()


def test_a_browser_may_name_the_forwarded_port_and_the_real_one_but_no_other(port):
    for seen, status in ((port, 401), (9000, 401), (9001, 421)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/model", headers={"Host": f"localhost:{seen}"})
        assert connection.getresponse().status == status
        connection.close()


def test_the_pages_escape_names_and_list_what_may_be_asked(client):
    page, reference = client.get("/").text, client.get("/api").text
    assert NASTY not in page
    paths = set(client.get("/api/openapi.json").json()["paths"])
    job = "/api/maps/{job_id}"
    assert paths == {"/api/model", "/api/maps", job, f"{job}/view", f"{job}/files/{{name}}"}
    assert all(path in reference for path in paths)
    assert not [text for text in (page, reference) if "https://" in text]


def test_a_port_that_is_taken_is_told():
    with _listening(0) as first, pytest.raises(OutputError, match=r"port \d+ of 127.0.0.1 must be free"):
        _listening(first.getsockname()[1])


def test_covariates_are_values_and_never_files(client_of, tmp_path_factory):
    """Text that names a file is an error, and no file of the machine is opened."""
    age = Covariate(name="age", mean=70, std=8, baseline_range=(55.0, 85.0))
    able = Attributor.load(save_random_generator(tmp_path_factory.mktemp("conditioned"), covariates=(age,)))
    client = client_of(lambda image, out, values=None: attribute(able, image, out, values))
    content, before = picture(), len(list(Path(tmp_path_factory.getbasetemp()).rglob("image.png")))
    for text in ("/proc/self/environ", "manifest.csv", "age"):
        answer = client.post("/api/maps", params={"name": "a.png", "covariates": text}, content=content)
        assert answer.status_code == 400
        assert "age=70" in answer.json()["detail"]  # the format, and nothing of a file
    assert len(list(Path(tmp_path_factory.getbasetemp()).rglob("image.png"))) == before
    answer = client.post(
        "/api/maps", params={"name": "a.png", "covariates": "age=/proc/self/environ"}, content=content
    )
    assert finished(client, answer.json())["state"] == "failed"
    answer = client.post("/api/maps", params={"name": "a.png", "covariates": "age=71"}, content=content)
    status = finished(client, answer.json())
    assert status["state"] == "done"
    about = client.get(f"/api/maps/{status['id']}/files/effect.json").json()
    assert about["covariates"] == {"age": "71"}
