"""The page at ``/``: static files, nothing from elsewhere; and the default model's form."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aimq.errors import MlUnavailable
from aimq.schema import Schema
from aimq.schema.jsonschema import record_schema
from interface.context import Context

#: The page runs only what is served here, and nothing may frame it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    **{
        f"/page/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "api", "models", "predict", "train")
    },
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: What a browser fetches to show the page.
PATHS: Final = tuple(_FILES)


def routes(context: Context) -> list[Route]:
    """Return the page's routes, and ``GET /schema``: the form of the default model."""

    async def schema(_: Request) -> Response:
        known = context.schema.schema
        if known is None:
            raise MlUnavailable("The ML service has not told its schema yet.", retry_after=2.0)
        return Response(msgspec.json.encode(form(known)), media_type="application/json")

    return [*(_static(path, *file) for path, file in _FILES.items()), Route("/schema", schema)]


def form(schema: Schema) -> dict[str, object]:
    """Return what a form for one record needs, as JSON-ready values.

    ``by_group`` narrows a field's choices to those its group knows.
    """
    return {
        "title": schema.title,
        "group": schema.group,
        "prediction": schema.prediction,
        "unit": schema.target_unit,
        "record": record_schema(schema),
        "by_group": {f.name: dict(f.by_group) for f in schema.features if f.by_group},
    }


def _static(path: str, name: str, media_type: str) -> Route:
    content = (files(__name__) / name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return Route(path, serve)
