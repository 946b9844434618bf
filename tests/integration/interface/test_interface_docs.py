from tests.documentation_page import assert_served_from_here
from tests.integration.interface.conftest import serving


async def test_the_documentation_is_served_from_here(door):
    await assert_served_from_here(door)


async def test_with_keys_its_files_need_one_as_the_page_does(settings, broker, store, files):
    keyed = settings.model_copy(update={"api_keys": frozenset({"sesame"})})
    async with serving(keyed, broker, store, files) as client:
        paths = ["/docs", "/docs/files/swagger-ui.css"]
        refused = [await client.get(path) for path in paths]
        opened = [await client.get(path, headers={"X-API-Key": "sesame"}) for path in paths]

    assert {answer.status_code for answer in refused} == {401}
    assert {answer.status_code for answer in opened} == {200}
