"""The upload page, and the REST interface that it uses."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, no_type_check

from fastapi import FastAPI, HTTPException, Query, Request, Security
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.security import APIKeyHeader, APIKeyQuery
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from vagan.data.image_file import SUFFIXES, name_of, suffix_of
from vagan.errors import ConfigError
from vagan.inference.covariates import parse_covariates
from vagan.model.folder import ModelSpec
from vagan.reporting.page import asset, hue_bytes, page_template, viewer_scripts
from vagan.serving.guard import TOKEN_HEADER, TOKEN_QUERY, Guard
from vagan.serving.jobs import Job, JobQueue, QueueFullError, State

NAME_LENGTH = 120
UPLOAD_S = 600  # longest time for an upload
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}
NAME = rf"^[^\x00-\x1f/\\]*({'|'.join(suffix.replace('.', '[.]') for suffix in SUFFIXES)})$"
COVARIATES = "^([A-Za-z0-9_]+=[A-Za-z0-9_.]+(,[A-Za-z0-9_]+=[A-Za-z0-9_.]+)*)?$"
RESULT_TYPES = ("application/json", "application/octet-stream", "application/gzip", "image/png", "text/csv")


class Refusal(BaseModel):
    """What is wrong, and what to do."""

    detail: str


REFUSALS = {
    400: "The file is empty or was interrupted, or the covariates are not as described",
    401: "The token is missing or wrong",
    403: "The request is from a page of another site",
    404: "There is no such image or result (any more)",
    408: f"The file was not sent within {UPLOAD_S} s",
    409: "The image is being processed, or has no result yet",
    413: "The file is too large",
    415: "The suffix of the name is not one of those of the model",
    421: "The host is not that of the printed address",
    429: "Too many images are waiting",
}


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"description": REFUSALS[code], "model": Refusal} for code in codes}


class Model(BaseModel):
    """The model, and what it accepts."""

    method: str
    kind: str
    classes: list[str]
    dimensions: int
    suffixes: list[str]
    covariates: dict[str, list[str]]  # required for each image: by name its categories, none for a number
    largest_bytes: int


class Status(BaseModel):
    """State of an image."""

    id: str
    name: str
    state: State
    message: str = ""  # of a failure: its cause and remedy
    ahead: int = 0  # unfinished images before this one
    seconds: float | None = None  # spent on it so far
    expected_seconds: float | None = None  # spent on the last image
    files: list[str] = []  # names of the result files


def make_app(
    jobs: JobQueue, spec: ModelSpec, method: str, *, token: str, hosts: Collection[str], largest_bytes: int
) -> Guard:
    """The application behind its `Guard`. It closes ``jobs`` at its end, and refuses larger uploads."""

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
        responses=_refusals(401, 403, 421),
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

    @app.post("/api/maps", status_code=202, openapi_extra=BODY, responses=_refusals(400, 408, 413, 415, 429))
    @no_type_check  # the tests' type checks mistake a coroutine for its result
    async def attribute(
        request: Request,
        name: Annotated[
            str, Query(description="file name; its suffix determines the format", json_schema_extra={"pattern": NAME})
        ],
        covariates: Annotated[
            str, Query(description="such as age=70,sex=F", json_schema_extra={"pattern": COVARIATES})
        ] = "",
    ) -> Status:
        """Upload an image file as the body of the request and queue it."""
        name = Path(name.replace("\\", "/")).name[-NAME_LENGTH:]
        if not (suffix := suffix_of(Path(name))):
            raise HTTPException(415, f"the suffix of {name!r} must be one of {', '.join(SUFFIXES)}")
        try:
            # text over HTTP never names a file of this machine
            job = jobs.prepare(name, suffix.lower(), parse_covariates(covariates))
            try:
                await _receive(request, job, jobs, largest_bytes)
            except BaseException:
                jobs.discard(job)
                raise
            jobs.submit(job)
        except ConfigError as error:
            raise HTTPException(400, str(error)) from error
        except QueueFullError as error:
            raise HTTPException(429, str(error)) from error
        return _status(job, jobs)

    @app.get("/api/maps/{job_id}", responses=_refusals(404))
    def status(job_id: str) -> Status:
        """State of an image, and the names of its results when it is done."""
        return _status(found(job_id), jobs)

    @app.get("/api/maps/{job_id}/view", responses=_refusals(404, 409))
    def view(job_id: str) -> dict[str, Any]:
        """Data of the page's viewer."""
        job = found(job_id)
        if job.view is None:
            raise HTTPException(409, "there is no result yet; poll the state first")
        return job.view

    @app.get(
        "/api/maps/{job_id}/files/{name}",
        response_class=FileResponse,
        responses=_refusals(404) | {200: {"content": {kind: {} for kind in RESULT_TYPES}}},
    )
    def result(job_id: str, name: str) -> FileResponse:
        """A result file: map, overlay or description."""
        job = found(job_id)
        if name not in job.files:
            raise HTTPException(404, f"no such result; found {', '.join(job.files) or 'none yet'}")
        return FileResponse(job.files[name], filename=f"{name_of(Path(job.name))}_{name}")

    @app.delete("/api/maps/{job_id}", status_code=204, responses=_refusals(404, 409))
    def forget(job_id: str) -> None:
        """Delete an image and its results."""
        job = found(job_id)
        if job.state == "working":
            raise HTTPException(409, "this image is being processed; wait until it is done")
        jobs.discard(job)

    app.add_exception_handler(405, _other_method)
    return Guard(app, token=token, hosts=hosts)


def _add_pages(app: FastAPI, model: Model, token: str) -> None:
    """Add the upload page and the reference of the REST interface; they load nothing from elsewhere."""

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
        return _answer(text, f"script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; form-action 'none'")

    @app.get("/api", include_in_schema=False)
    def reference() -> HTMLResponse:
        return _answer(page_template("api.html.j2").render(schema=app.openapi(), token=token), "form-action 'none'")


def _answer(text: str, allowed: str) -> HTMLResponse:
    policy = f"default-src 'none'; style-src 'unsafe-inline'; {allowed}; base-uri 'none'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _other_method(request: Request, _: Exception) -> JSONResponse:
    """Starlette names the methods of the first route of a path alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.path_regex.match(request.url.path)]
    allowed = ", ".join(sorted({method for route in here for method in route.methods or ()}))
    return JSONResponse({"detail": f"the method must be one of {allowed}"}, 405, {"Allow": allowed})


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
