import base64
import hashlib
import re

import httpx
from fastapi import FastAPI

from aimq.http import documentation


async def page(root_path=""):
    app = FastAPI(docs_url=None, redoc_url=None)
    documentation.install(app)
    transport = httpx.ASGITransport(app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://aimq") as client:
        return await client.get("/docs")


async def test_the_policy_lets_the_pages_own_script_run_and_no_other():
    answer = await page()
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    directives = answer.headers["content-security-policy"].split("; ")
    assert f"script-src 'self' 'sha256-{digest}'" in directives


async def test_behind_a_prefix_everything_is_asked_for_below_it():
    text = (await page("/behind")).text
    assert "'/behind/openapi.json'" in text
    assert '"/behind/docs/files/swagger-ui.css"' in text


async def test_no_validator_elsewhere_is_asked():
    assert '"validatorUrl": null' in (await page()).text
