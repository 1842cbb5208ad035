"""The REST interface, which the page uses too."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, no_type_check

from fastapi import FastAPI, HTTPException, Query, Request, Security
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.security import APIKeyHeader, APIKeyQuery
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from vagan.data.image_file import SUFFIXES, name_of, suffix_of
from vagan.errors import ConfigError
from vagan.inference.covariates import parse_covariates
from vagan.model.folder import ModelSpec
from vagan.reporting.page import page_template
from vagan.reporting.viewer import asset, hue_bytes, viewer_scripts
from vagan.serving.guard import TOKEN_HEADER, TOKEN_QUERY, Guard
from vagan.serving.jobs import Job, JobQueue, QueueFullError, State

NAME_LENGTH = 120
UPLOAD_S = 600
"""Longest time for an upload."""
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}
NAME = rf"^[^\x00-\x1f/\\]*({'|'.join(suffix.replace('.', '[.]') for suffix in SUFFIXES)})$"
COVARIATES = "^([A-Za-z0-9_]+=[A-Za-z0-9_.]+(,[A-Za-z0-9_]+=[A-Za-z0-9_.]+)*)?$"
RESULTS = ("application/json", "application/octet-stream", "application/gzip", "image/png", "text/csv")
"""Media types of results."""


class Refusal(BaseModel):
    """What is wrong, and what to do."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refusal, "description": "Refused, for the reason given"}
}


class Model(BaseModel):
    """The model, and what it accepts."""

    method: str
    kind: str
    classes: list[str]
    dimensions: int
    suffixes: list[str]
    covariates: dict[str, list[str]]
    """Required for each image: by name its categories, none for a number."""
    largest_bytes: int


class Status(BaseModel):
    """State of an image."""

    id: str
    name: str
    state: State
    message: str = ""
    """Of a failure: its cause and remedy."""
    ahead: int = 0
    """Unfinished images before this one."""
    seconds: float | None = None
    """Spent on it so far."""
    expected_seconds: float | None = None
    """Spent on the last image."""
    files: list[str] = []
    """Names of the result files."""


def make_app(
    jobs: JobQueue, spec: ModelSpec, method: str, *, token: str, hosts: Collection[str], largest_bytes: int
) -> Guard:
    """The application behind its access control.

    Parameters
    ----------
    jobs
        Closed with the application.
    token, hosts
        See `Guard`.
    largest_bytes
        Larger uploads are refused.
    """

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()

    app = FastAPI(
        title="vagan serve",
        version="1",
        description=f"Effect maps of images, by {method}. Every request needs the token.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=closing,
        responses=REFUSALS,
        dependencies=[  # described here, and required by `Guard`
            Security(APIKeyHeader(name=TOKEN_HEADER, auto_error=False)),
            Security(APIKeyQuery(name=TOKEN_QUERY, auto_error=False)),
        ],
    )
    model = Model(
        method=method,
        kind=spec.kind,
        classes=list(spec.classes),
        dimensions=spec.num_spatial_dims,
        suffixes=list(SUFFIXES),
        covariates={covariate.name: list(covariate.categories) for covariate in spec.covariates},
        largest_bytes=largest_bytes,
    )

    def found(job_id: str) -> Job:
        job = jobs.find(job_id)
        if job is None:
            raise HTTPException(404, "unknown image, or its results were deleted; send it again")
        return job

    _add_pages(app, model, token)

    @app.get("/api/model")
    def about() -> Model:
        """The model, and the file types it accepts."""
        return model

    @app.post("/api/maps", status_code=202, openapi_extra=BODY)
    @no_type_check  # the tests' type checks mistake a coroutine for its result
    async def attribute(
        request: Request,
        name: Annotated[
            str,
            Query(description="file name; its suffix determines the format", json_schema_extra={"pattern": NAME}),
        ],
        covariates: Annotated[
            str, Query(description="such as age=70,sex=F", json_schema_extra={"pattern": COVARIATES})
        ] = "",
    ) -> Status:
        """Upload an image file as the body of the request and queue it."""
        job = _prepare(jobs, Path(name.replace("\\", "/")).name[-NAME_LENGTH:], covariates)
        try:
            await _receive(request, job, largest_bytes)
        except BaseException:
            jobs.discard(job)
            raise
        jobs.submit(job)
        return _status(job, jobs)

    @app.get("/api/maps/{job_id}")
    def status(job_id: str) -> Status:
        """State of an image, and the names of its results when it is done."""
        return _status(found(job_id), jobs)

    @app.get("/api/maps/{job_id}/view")
    def view(job_id: str) -> dict[str, Any]:
        """Data of the page's viewer."""
        job = found(job_id)
        if job.view is None:
            raise HTTPException(409, "there is no result yet; poll the state first")
        return job.view

    @app.get(
        "/api/maps/{job_id}/files/{name}",
        response_class=FileResponse,
        responses={200: {"content": {kind: {} for kind in RESULTS}}},
    )
    def result(job_id: str, name: str) -> FileResponse:
        """A result file: map, overlay or description."""
        job = found(job_id)
        if name not in job.files:
            raise HTTPException(404, f"no such result; found {', '.join(job.files) or 'none yet'}")
        return FileResponse(job.files[name], filename=f"{name_of(Path(job.name))}_{name}")

    @app.delete("/api/maps/{job_id}", status_code=204)
    def forget(job_id: str) -> None:
        """Delete an image and its results."""
        job = found(job_id)
        if job.state == "working":
            raise HTTPException(409, "this image is being processed; wait until it is done")
        jobs.discard(job)

    return Guard(app, token=token, hosts=hosts)


def _add_pages(app: FastAPI, model: Model, token: str) -> None:
    """Add the upload page and the reference of the interface; they load nothing from elsewhere."""

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        text = page_template("serve.html.j2").render(
            model=model,
            token=token,
            nonce=nonce,
            hues=hue_bytes(),
            style=asset("viewer.css"),
            scripts=viewer_scripts(nonce=nonce),
            script=asset("serve.js"),
        )
        scripts = f"script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; form-action 'none'"
        return _answer(text, scripts)

    @app.get("/api", include_in_schema=False)
    def reference() -> HTMLResponse:
        return _answer(page_template("api.html.j2").render(schema=app.openapi(), token=token), "form-action 'none'")


def _answer(text: str, allowed: str) -> HTMLResponse:
    policy = f"default-src 'none'; style-src 'unsafe-inline'; {allowed}; base-uri 'none'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _prepare(jobs: JobQueue, name: str, covariates: str) -> Job:
    suffix = suffix_of(Path(name))
    if not suffix:
        raise HTTPException(415, f"the suffix of {name!r} must be one of {', '.join(SUFFIXES)}")
    try:
        values = parse_covariates(covariates)  # text over HTTP never names a file of this machine
        return jobs.prepare(name, suffix.lower(), values)
    except ConfigError as error:
        raise HTTPException(400, str(error)) from error
    except QueueFullError as error:
        raise HTTPException(429, str(error)) from error


@no_type_check
async def _receive(request: Request, job: Job, largest_bytes: int) -> None:
    refusal = HTTPException(413, f"{job.name} is too large: the limit is {largest_bytes / 2**20:.0f} MB")
    announced, size = request.headers.get("content-length", ""), 0
    if announced.isdecimal() and int(announced) > largest_bytes:
        raise refusal
    with job.image.open("wb") as file:
        try:
            async with asyncio.timeout(UPLOAD_S):
                async for part in request.stream():
                    size += len(part)
                    if size > largest_bytes:
                        raise refusal
                    file.write(part)
        except TimeoutError as error:
            raise HTTPException(408, f"{job.name} must be sent within {UPLOAD_S} s") from error
        except ClientDisconnect as error:
            raise HTTPException(400, f"{job.name} was interrupted; send it again") from error
    if size == 0:
        raise HTTPException(400, f"{job.name} is empty; send the file as the body of the request")


def _status(job: Job, jobs: JobQueue) -> Status:
    seconds = None if job.begun is None else (job.ended or time.monotonic()) - job.begun
    return Status(
        id=job.id,
        name=job.name,
        state=job.state,
        message=job.message,
        ahead=jobs.ahead(job) if job.state == "waiting" else 0,
        seconds=seconds,
        expected_seconds=jobs.last_seconds,
        files=list(job.files),
    )
