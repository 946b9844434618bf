"""What holds for the API documentation of either service."""

from __future__ import annotations

import re

import httpx


async def assert_served_from_here(client: httpx.AsyncClient) -> None:
    """Check that ``/docs`` names no other host, and that what it loads is there."""
    page = await client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"https?:|//", page.text)
    named = set(re.findall(r"""(?:src=|href=|url: )["'](/[^"']*)""", page.text))
    kinds = {}
    for path in named:
        answer = await client.get(path)
        assert answer.status_code == 200, path
        kinds[path] = answer.headers["content-type"].partition(";")[0].partition("/")[2]
    assert kinds == {
        "/docs/files/swagger-ui-bundle.js": "javascript",
        "/docs/files/swagger-ui.css": "css",
        "/openapi.json": "json",
    }

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert (await client.get("/redoc")).status_code == 404  # it loads its logo from elsewhere


def assert_takes_a_key(document: dict) -> None:
    """Check that the page can take an API key, and sends it with every request that is tried."""
    (name,) = document["components"]["securitySchemes"]
    scheme = document["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert [each for each in operations if each.get("security") != [{name: []}]] == []
