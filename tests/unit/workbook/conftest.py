import pytest

from aimq.workbook.reader import WorkbookReader


@pytest.fixture(scope="session")
def reader():
    reader = WorkbookReader(256)
    yield reader
    reader.close()


@pytest.fixture(scope="session")
def read(reader):
    return lambda path: reader.read(path, 1_000)


@pytest.fixture(scope="session")
def header(tmp_path_factory):
    """Read the header of a workbook in memory."""
    folder = tmp_path_factory.mktemp("header")
    reader = WorkbookReader(64)

    def header(file):
        path = folder / "in.xlsx"
        path.write_bytes(file.getvalue())
        with path.open("rb") as stream:
            return reader.header(stream)

    yield header
    reader.close()
