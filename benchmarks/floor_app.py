"""An empty FastAPI endpoint that validates the same body and returns a constant: the floor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

from aimq.http.serve import address, bind, serve
from aimq.schema import Feature, Schema, load_schema
from aimq.schema.model import FeatureType
from aimq.settings import load_settings


def create_app(schema: Schema) -> FastAPI:
    """Build the application: one route, ``POST /empty``."""
    app = FastAPI()

    async def empty(body: BaseModel) -> dict[str, Any]:  # noqa: ARG001 # it is validated
        return {schema.prediction: 1.0, schema.group: "A", "model_version": "1"}

    empty.__annotations__["body"] = _record(schema)
    empty.__annotations__["return"] = dict[str, Any]
    app.post("/empty")(empty)
    return app


def _record(schema: Schema) -> type[BaseModel]:
    fields: dict[str, Any] = {schema.group: (Literal[schema.groups], ...)}
    fields.update({feature.name: (_type(feature), ...) for feature in schema.features})
    return create_model("Record", **fields)


def _type(feature: Feature) -> Any:  # noqa: ANN401 # an annotation
    if not feature.numeric:
        return Literal[feature.categories]
    number = int if feature.type is FeatureType.INTEGER else float
    return Annotated[number, Field(ge=feature.minimum, le=feature.maximum)]


if __name__ == "__main__":
    listening = bind("127.0.0.1", 0, "nothing")
    print(address(listening), flush=True)
    serve(create_app(load_schema(Path(sys.argv[1]))), [listening], load_settings())
