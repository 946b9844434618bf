"""What docs/models.md says is run: every `sh` block of it in order, as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import openpyxl
import pandas as pd
import pytest

from tests.system import PATIENCE, ROOT, System, environment, running

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
UP = ".venv/bin/aimq up\n"
#: Versions as the page has them: one of earlier, one of later.
EARLIER, LATER = "20261121T120000Z", "20261121T130000Z"


def houses(rows: int) -> pd.DataFrame:
    """The page's table, a price that follows from the other columns and some noise."""
    random = np.random.default_rng(3)
    area = random.uniform(40, 160, rows).round(1)
    house = random.random(rows) < 0.4
    garden = house & (random.random(rows) < 0.7)
    price = (2500 * area + 40_000 * house + 25_000 * garden) * random.normal(1, 0.04, rows)
    table = pd.DataFrame(
        {
            "region": random.choice(["north", "south"], rows),
            "type": np.where(house, "house", "flat"),
            "area": area,
            "rooms": (area / 28).round().astype(int),
            "garden": np.where(garden, "yes", "no"),
            "sold_on": pd.Timestamp("2023-01-01") + pd.to_timedelta(np.arange(rows), unit="D"),
            "price": price.round(-2),
        }
    )
    table.loc[::17, "area"] = np.nan
    return table


def visits(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(4)
    spent = random.gamma(2, 20, rows).round(2)
    back = random.random(rows) < 1 / (1 + np.exp(-(spent - 40) / 10))
    return pd.DataFrame(
        {
            "age": random.integers(18, 80, rows),
            "channel": random.choice(["shop", "web"], rows),
            "spent": spent,
            "came_back": np.where(back, "yes", "no"),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a person's tables"
    folder.mkdir()
    houses(400).to_excel(folder / "houses.xlsx", index=False)
    houses(30).drop(columns="price").to_excel(folder / "new_houses.xlsx", index=False)
    visits(400).to_csv(folder / "visits.csv", index=False)
    return folder


def run(block: str, folder: Path, environ: dict[str, str], urls: dict[str, str]) -> str:
    """Run a block as a person would; return what it prints."""
    versions = sorted(path.name for path in Path(environ["AIMQ_MODELS_DIR"]).glob("houses/2*"))
    here = {EARLIER: versions[0], LATER: versions[-1]} if versions else {}
    aimq = f"{shlex.quote(sys.executable)} -m aimq"
    for written, meant in {**urls, **here, ".venv/bin/aimq": aimq}.items():
        block = block.replace(written, meant)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace("curl ", "curl --fail-with-body -sS ")],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def after_training(said: str, folder: Path, system: System | None) -> None:
    assert (folder / "houses.schema.toml").is_file()
    (report,) = re.findall(r"Report: (\S+)", said)
    assert Path(report).is_file()


def after_upload(said: str, folder: Path, system: System | None) -> None:
    header, *rows = openpyxl.load_workbook(folder / "new_houses_predicted.xlsx").active.values
    added = header[list(header).index("sold_on") + 1 :]
    assert added == (
        "predicted_price", "predicted_price_low", "predicted_price_high", "warning", "error",
    )  # fmt: skip
    first = dict(zip(header, rows[0], strict=True))
    assert len(rows) == 30
    assert first["predicted_price_low"] < first["predicted_price"] < first["predicted_price_high"]
    assert not any(row[-1] for row in rows)


def after_prediction(said: str, folder: Path, system: System | None) -> None:
    answer = json.loads(said)
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0])
    assert answer.keys() - {"warning"} == shown.keys()
    assert 100_000 < answer["predicted_price"] < 300_000


def after_classes(said: str, folder: Path, system: System | None) -> None:
    answer = json.loads(said[said.rindex("{") :])
    assert answer["predicted_came_back"] in {"yes", "no"}
    assert 0.5 <= answer["probability"] <= 1


def after_versions(said: str, folder: Path, system: System | None) -> None:
    assert {"houses", "visits", "used_cars"} <= set(re.findall(r"\w+", said))


def after_drift(said: str, folder: Path, system: System | None) -> None:
    features = json.loads(said.splitlines()[-1])["features"]
    assert {"area", "rooms"} <= {feature["name"] for feature in features}


def served(system):
    return {model["name"] for model in httpx.get(f"{system.url}/models").json()["models"]}


#: What is to be seen after a block that has these words.
SEEN = {
    "train houses.xlsx --target": after_training,
    "--interval 90": after_upload,
    "/houses/predict": after_prediction,
    "train visits.csv": after_classes,
    "aimq models\n": after_versions,
    "/drift": after_drift,
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_tutorial_does_what_it_says(trained_models, tmp_path, folder):
    models = tmp_path / "models"
    shutil.copytree(trained_models, models)
    environ = environment(tmp_path / "data", models)
    urls: dict[str, str] = {}
    system = None
    assert UP in BLOCKS
    assert all(any(words in block for block in BLOCKS) for words in SEEN)
    with ExitStack() as stack:
        for block in BLOCKS:
            if block == UP:
                system = stack.enter_context(running(environ))
                urls = {"http://127.0.0.1:8080": system.url, "http://127.0.0.1:5001": system.ml_url}
                continue
            if "model.onnx" in block:
                (made, *_) = sorted(models.glob("houses/2*/all.onnx"))
                shutil.copy(made, folder / "model.onnx")
            said = run(block, folder, environ, urls)
            for words, check in SEEN.items():
                if words in block:
                    check(said, folder, system)
        wanted = {"used_cars", "houses", "visits", "houses_imported"}
        deadline = time.monotonic() + PATIENCE  # the folder is looked at once a second
        while not wanted <= (names := served(system)):
            assert time.monotonic() < deadline, names
            time.sleep(0.1)
