"""What the document promises: nothing in it makes a 5xx; records are those of the schema."""

from __future__ import annotations

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, settings as hypothesis_settings

from aimq.settings import Settings
from ml_service.app import create_app


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # schemathesis's own
def test_nothing_in_the_document_makes_a_5xx(trained_models):
    app = create_app(Settings(models_dir=trained_models, rate_limit="1000000/second"))
    schema = schemathesis.from_asgi("/openapi.json", app)
    assert len(list(schema.get_all_operations())) >= 12
