from tests.documentation_page import assert_served_from_here, assert_takes_a_key
from tests.integration.interface.conftest import serving


async def test_the_documentation_is_served_from_here(door):
    await assert_served_from_here(door)


async def test_with_keys_it_is_open_and_says_where_a_key_goes(settings, broker, store, files):
    keyed = settings.model_copy(update={"api_keys": frozenset({"sesame"})})
    async with serving(keyed, broker, store, files) as client:
        paths = ["/docs", "/docs/files/swagger-ui.css", "/openapi.json"]
        answers = [await client.get(path) for path in paths]

    assert {answer.status_code for answer in answers} == {200}
    assert_takes_a_key(answers[-1].json())
