"""The API documentation at ``/docs``: Swagger UI, with every file from this service.

The framework's own page has browsers fetch scripts and styles from a CDN, which fails without the
internet and tells somebody else who looks at what.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from fastapi import FastAPI, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

#: For ``FastAPI(dependencies=[API_KEY])``: the document says that a key may be needed, and its page
#: asks for one. `aimq.http.guard` checks it.
API_KEY: Final = Security(
    APIKeyHeader(
        name="X-API-Key", auto_error=False, description="Needed where AIMQ_API_KEYS is set."
    )
)
_PAGE: Final = "/docs"
_FILES: Final = "/docs/files"
#: Swagger UI writes styles into its elements and has its icons in data URLs; what it asks for is
#: this service.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' '{script}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
#: Else Swagger UI would have a public validator fetch the document.
_NO_VALIDATOR: Final = {"validatorUrl": None}
_NO_ICON: Final = "data:,"


def install(app: FastAPI) -> None:
    """Serve the documentation of `app` and the files it needs. Nothing is read before it is asked.

    `app` is made without the framework's pages (``docs_url=None, redoc_url=None``). Its middleware
    holds for these paths as for all others.
    """

    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        answer = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: API",
            swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
            swagger_favicon_url=_NO_ICON,
            swagger_ui_parameters=_NO_VALIDATOR,
        )
        answer.headers["Content-Security-Policy"] = _POLICY.format(script=_digest(answer.body))
        return answer

    app.add_route(_PAGE, page, include_in_schema=False)
    app.mount(_FILES, StaticFiles(packages=[("fastapi_offline", "static")]))


def _digest(html: bytes | memoryview) -> str:
    """Return the only inline script of a page as the policy names it."""
    (script,) = re.findall(rb"<script>(.*?)</script>", bytes(html), re.DOTALL)
    return f"sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}"
