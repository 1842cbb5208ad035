"""HTML representations for notebooks."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray


def facts_html(title: str, facts: Mapping[str, Any]) -> str:
    """A heading and names with their values.

    Examples
    --------
    >>> facts_html("a < b", {})
    '<p><b>a &lt; b</b></p><table></table>'
    """
    left = 'style="text-align: left"'
    rows = (f"<tr><th {left}>{escape(str(k))}</th><td {left}>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"<p><b>{escape(title)}</b></p><table>{''.join(rows)}</table>"


def table_html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first cell of each row names it."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def pictures_html(images: Sequence[NDArray[np.float32]], captions: Sequence[str]) -> str:
    """Grey pictures ``(height, width)`` in [-1, 1] beside each other, a caption below each."""
    return "".join(
        '<figure style="display: inline-block; margin: 4px"><img style="height: 112px; image-rendering: pixelated" '
        f'alt="{escape(caption)}" src="data:image/png;base64,{_png(image)}">'
        f"<figcaption><small>{escape(caption)}</small></figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
    )


def _png(image: NDArray[np.float32]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(((image.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
