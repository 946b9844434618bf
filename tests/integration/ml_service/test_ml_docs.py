from aimq.settings import Settings
from tests.documentation_page import assert_served_from_here


async def test_the_documentation_is_served_from_here_with_and_without_keys(serve, trained_models):
    for keys in (frozenset(), frozenset({"sesame"})):  # it has never needed one
        settings = Settings(models_dir=trained_models, api_keys=keys)
        async with serve(settings) as service:
            await assert_served_from_here(service)
