"""The web server's answers to scripts; its pages ask the same."""

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
from vagan.model.folder import ModelSpec
from vagan.serving.guard import Guard
from vagan.serving.jobs import Job, JobQueue, QueueFullError, State
from vagan.serving.pages import Model, add_pages

NAME_LENGTH = 120
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


class Status(BaseModel):
    """Where an image stands."""

    id: str
    name: str
    state: State
    message: str = ""
    """Of a failure: what must hold, what was found, what to do."""
    ahead: int = 0
    """Images before this one."""
    seconds: float | None = None
    """How long it has been worked on."""
    expected_seconds: float | None = None
    """How long the last image took."""
    files: list[str] = []
    """Names of the results."""


def make_app(
    jobs: JobQueue, facts: ModelSpec, method: str, *, token: str, hosts: Collection[str], largest_bytes: int
) -> Guard:
    """The application, behind its guard.

    Parameters
    ----------
    jobs
        Closed with the application.
    facts, method
        Of the model, and the name of the method that explains it.
    token, hosts
        See `Guard`.
    largest_bytes
        Larger uploads are refused, at the latest when so much has come in.
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
        kind=facts.kind,
        classes=list(facts.classes),
        dimensions=facts.num_spatial_dims,
        suffixes=list(SUFFIXES),
        covariates={covariate.name: list(covariate.categories) for covariate in facts.covariates},
        largest_bytes=largest_bytes,
    )

    def found(job_id: str) -> Job:
        job = jobs.find(job_id)
        if job is None:
            raise HTTPException(404, "no such image: it was never here, or its results were forgotten; send it again")
        return job

    add_pages(app, model, token)

    @app.get("/api/model")
    def about() -> Model:
        """What maps are made with, and which files are taken."""
        return model

    @app.post("/api/maps", status_code=202, openapi_extra=BODY)
    @no_type_check  # what checks types in the tests takes a coroutine for its result
    async def attribute(
        request: Request,
        name: Annotated[str, Query(description="of the file; its ending tells its kind")],
        covariates: Annotated[str, Query(description="what is known of the image, such as age=70,sex=F")] = "",
    ) -> Status:
        """Send an image file as the body; its map is made when its turn comes."""
        name = Path(name.replace("\\", "/")).name[-NAME_LENGTH:]
        suffix = suffix_of(Path(name))
        if not suffix:
            raise HTTPException(415, f"{name!r} is no image: its name must end in one of {', '.join(SUFFIXES)}")
        try:
            jobs.require_room()
            job = jobs.prepare(name, suffix.lower())
            job.covariates = covariates
            try:
                await _receive(request, job, largest_bytes)
            except BaseException:
                jobs.discard(job)
                raise
            jobs.submit(job)
        except QueueFullError as error:
            raise HTTPException(429, str(error)) from error
        return _status(job, jobs)

    @app.get("/api/maps/{job_id}")
    def status(job_id: str) -> Status:
        """Where an image stands, and the names of its results when it is done."""
        return _status(found(job_id), jobs)

    @app.get("/api/maps/{job_id}/view")
    def view(job_id: str) -> dict[str, Any]:
        """What the page's viewer shows."""
        job = found(job_id)
        if job.view is None:
            raise HTTPException(409, "there is nothing to see yet; ask for its state first")
        return job.view

    @app.get("/api/maps/{job_id}/files/{name}", response_class=FileResponse)
    def result(job_id: str, name: str) -> FileResponse:
        """A result: the map, the overlay, the description."""
        job = found(job_id)
        if name not in job.files:
            raise HTTPException(404, f"there is no such result; there are {', '.join(job.files) or 'none yet'}")
        return FileResponse(job.files[name], filename=f"{name_of(Path(job.name))}_{name}")

    @app.delete("/api/maps/{job_id}", status_code=204)
    def forget(job_id: str) -> None:
        """Remove an image and its results from the server."""
        job = found(job_id)
        if job.state == "working":
            raise HTTPException(409, "this image is being worked on; wait until it is done")
        jobs.discard(job)

    return Guard(app, token=token, hosts=hosts)


@no_type_check
async def _receive(request: Request, job: Job, largest_bytes: int) -> None:
    refusal = HTTPException(413, f"{job.name} is too large: at most {largest_bytes / 2**20:.0f} MB are taken")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > largest_bytes:
        raise refusal
    size = 0
    with job.image.open("wb") as file:
        try:
            async for part in request.stream():
                size += len(part)
                if size > largest_bytes:  # it may never end: what else comes is not waited for
                    raise HTTPException(refusal.status_code, refusal.detail, {"Connection": "close"})
                file.write(part)
        except ClientDisconnect as error:  # nobody hears this
            raise HTTPException(400, f"{job.name} was broken off; send it again") from error
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
