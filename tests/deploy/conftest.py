"""The rendered manifests, once a session."""

import pytest

from tests.deploy.manifests import PRODUCTION, add_secrets, copy, render


@pytest.fixture(scope="session")
def overlays(tmp_path_factory):
    k8s = copy(tmp_path_factory.mktemp("manifests"))
    add_secrets(k8s)
    return {"local": render(k8s, "."), "production": render(k8s, PRODUCTION)}


@pytest.fixture(params=["local", "production"])
def resources(request, overlays):
    return overlays[request.param]
