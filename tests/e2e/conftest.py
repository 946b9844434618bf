from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import System, environment, running


@pytest.fixture(scope="session")
def system(trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """`aimq up` on the embedded default, with small models."""
    data = tmp_path_factory.mktemp("data with a space")
    with running(environment(data, trained_models)) as system:
        yield system
