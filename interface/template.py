"""``GET /models/{name}/template``: a workbook to fill in, with the columns and a usual row."""

from __future__ import annotations

import io
from datetime import date
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from aimq.errors import MlUnavailable
from aimq.http.problems import documented
from aimq.schema import Schema
from aimq.schema.feature import FeatureType
from aimq.schema.jsonschema import example
from interface.context import Context
from interface.filenames import content_disposition
from interface.jobs import XLSX
from interface.models import Name, find_model

_WORKBOOK: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The workbook", "content": {XLSX: {}}}
}


def router(context: Context) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["models"], default_response_class=Response)

    @routes.get(
        "/models/{name}/template",
        summary="A workbook to fill in",
        responses={**_WORKBOOK, **documented(404, 503)},
    )
    async def template(name: Name) -> Response:
        model = await find_model(context, name)
        if model is None:
            raise MlUnavailable("The columns are known once the ML service answers; try again.")
        content = await context.threads.run(write_template, model.schema)
        headers = {"Content-Disposition": content_disposition(f"{name}_template.xlsx")}
        return Response(content, media_type=XLSX, headers=headers)

    return routes


def write_template(schema: Schema) -> bytes:
    """Return a workbook with the schema's columns and one valid row. Blocks."""
    from openpyxl import Workbook  # noqa: PLC0415 # slow to import
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415

    book = Workbook(write_only=True)
    sheet = book.create_sheet("template")
    dates = {feature.name for feature in schema.features if feature.type is FeatureType.DATE}

    def cell(value: object, *, is_date: bool = False) -> WriteOnlyCell:
        made = WriteOnlyCell(sheet, date.fromisoformat(str(value)) if is_date else value)
        if isinstance(value, str) and not is_date:
            made.data_type = "s"  # a name that begins with = is no formula
        return made

    row = example(schema)
    sheet.append([cell(name) for name in row])
    sheet.append([cell(value, is_date=name in dates) for name, value in row.items()])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()
