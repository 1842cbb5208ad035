"""The REST interface, which the page uses too."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, no_type_check

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from vagan.data.image_file import SUFFIXES, name_of, suffix_of
from vagan.errors import ConfigError
from vagan.inference.covariates import parse_covariates
from vagan.model.folder import ModelSpec
from vagan.serving.guard import Guard
from vagan.serving.jobs import Job, JobQueue, QueueFullError, State
from vagan.serving.pages import Model, add_pages

NAME_LENGTH = 120
UPLOAD_S = 600
"""Longest time for an upload."""
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


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

    add_pages(app, model, token)

    @app.get("/api/model")
    def about() -> Model:
        """The model, and the file types it accepts."""
        return model

    @app.post("/api/maps", status_code=202, openapi_extra=BODY)
    @no_type_check  # the tests' type checks mistake a coroutine for its result
    async def attribute(
        request: Request,
        name: Annotated[str, Query(description="file name; its suffix determines the format")],
        covariates: Annotated[str, Query(description="such as age=70,sex=F")] = "",
    ) -> Status:
        """Upload an image file as the body of the request and queue it."""
        name = Path(name.replace("\\", "/")).name[-NAME_LENGTH:]
        suffix = suffix_of(Path(name))
        if not suffix:
            raise HTTPException(415, f"the suffix of {name!r} must be one of {', '.join(SUFFIXES)}")
        values = _parse(covariates)
        try:
            job = jobs.prepare(name, suffix.lower())
            job.covariates = values
            try:
                await _receive(request, job, jobs, largest_bytes)
            except BaseException:
                jobs.discard(job)
                raise
            jobs.submit(job)
        except QueueFullError as error:
            raise HTTPException(429, str(error)) from error
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

    @app.get("/api/maps/{job_id}/files/{name}", response_class=FileResponse)
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


def _parse(covariates: str) -> dict[str, str]:
    try:
        return parse_covariates(covariates)  # text over HTTP never names a file of this machine
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error


@no_type_check
async def _receive(request: Request, job: Job, jobs: JobQueue, largest_bytes: int) -> None:
    refusal = HTTPException(413, f"{job.name} is too large: the limit is {largest_bytes / 2**20:.0f} MB")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > largest_bytes:
        raise refusal
    with job.image.open("wb") as file:
        try:
            async with asyncio.timeout(UPLOAD_S):
                async for part in request.stream():
                    jobs.reserve(job, len(part))
                    if job.size > largest_bytes:
                        raise refusal
                    file.write(part)
        except TimeoutError as error:
            raise HTTPException(408, f"{job.name} must be sent within {UPLOAD_S} s") from error
        except ClientDisconnect as error:
            raise HTTPException(400, f"{job.name} was interrupted; send it again") from error
    if job.size == 0:
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
