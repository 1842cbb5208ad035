"""The upload page, and the reference of the REST interface."""

import secrets

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from vagan.reporting.page import page_template
from vagan.reporting.viewer import asset, hue_bytes, viewer_scripts


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


def add_pages(app: FastAPI, model: Model, token: str) -> None:
    """Add both to the application; they load nothing from elsewhere."""

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
