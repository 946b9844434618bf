"""From a file to a prediction by the page alone, where nothing is published yet."""

import httpx
import pytest

from tests.browser import browser
from tests.system import environment, running

ROWS = 30


def test_a_first_model_is_trained_served_and_asked_by_the_page_alone(tmp_path, tables):
    models, table = tmp_path / "models", tables["wines"]
    with (
        running(environment(tmp_path / "data", models, COLUMNS="200"), models=False) as system,
        browser() as page,
    ):
        page.open(system.url)
        page.until("/have to wait/.test(document.querySelector('#predict-notice')?.innerText)")
        page.choose_file("#train-file", table.path)
        page.set("#train-target", table.target)
        page.click("#train button")
        page.until("document.querySelector('#trainings .badge')")
        assert "wines is published as version" in page.text("#trainings")
        page.until("document.querySelector('#predict:not([hidden])')")
        page.click("#predict button")
        page.until("document.querySelector('#prediction').innerText")
        said = page.text("#prediction").split("\n")

        assert said[0] in {str(kind) for kind in table.frame[table.target]}
        assert said[1].startswith("probability")
        assert page.faults == []
        assert "wines.parquet (training)" in system.aimq("jobs").stdout


@pytest.mark.timeout(600)  # four trainings, on a loaded machine
def test_tables_go_from_file_to_scored_sheet_by_the_page_alone(tmp_path, tables, adapters):
    if adapters:  # all four on the embedded default are enough
        tables = {name: tables[name] for name in ("wines", "rentals")}
    environ = environment(tmp_path / "data", tmp_path / "models", **adapters)
    with running(environ, models=False) as system, browser() as page:
        page.open(system.url)
        page.until("document.querySelector('#train button')")
        for table in tables.values():
            page.choose_file("#train-file", table.path)
            page.set("#train-target", table.target)
            page.set("#train-group", table.group or "")
            page.click("#train button")
            page.until(f"/{table.name} is published as version/.test(document.body.innerText)")
        page.until(f"document.querySelectorAll('#model option').length === {len(tables)}")
        for done, table in enumerate(tables.values(), 1):
            sheet = tmp_path / f"{table.name} to score.xlsx"
            table.sheet(ROWS).to_excel(sheet, index=False)
            page.choose_file("#file", sheet)
            page.until(f"document.querySelectorAll('#uploads .badge').length === {done}")
        jobs = {job["filename"]: job for job in httpx.get(f"{system.url}/jobs").json()}
        for table in tables.values():
            job = jobs[f"{table.name} to score.xlsx"]
            assert (job["status"], job["model"]) == ("done", table.name)
            assert (job["rows_done"], job["rows_failed"]) == (ROWS, 0)
        assert page.faults == []
