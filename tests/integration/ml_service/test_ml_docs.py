from aimq.settings import Settings
from tests.documentation_page import assert_served_from_here, assert_takes_a_key


async def test_the_documentation_is_served_from_here_without_a_key(serve, trained_models):
    settings = Settings(models_dir=trained_models, api_keys=frozenset({"sesame"}))
    async with serve(settings, ready=False) as client:
        client.headers["X-API-Key"] = "sesame"  # any other path, known or not, needs it
        await assert_served_from_here(client)
        del client.headers["X-API-Key"]
        paths = ["/docs", "/docs/files/swagger-ui.css", "/openapi.json"]
        answers = [await client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    assert_takes_a_key(answers[-1].json())
