"""From a file to a prediction by the page alone, where nothing is published yet."""

from tests.browser import browser
from tests.system import environment, running


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
