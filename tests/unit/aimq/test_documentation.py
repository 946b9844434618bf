from pathlib import Path

from aimq.cli.settings import table
from aimq.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_documented_settings_are_the_settings():
    assert (ROOT / "docs" / "configuration.md").read_text().endswith(table())


def test_every_setting_says_what_it_means():
    assert [name for name, f in Settings.model_fields.items() if not f.description] == []
