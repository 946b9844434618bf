import xml.etree.ElementTree as ET

import pytest

from benchmarks.plot import Axis, bars, lines, ticks
from benchmarks.tables import markdown, put, write_csv

SVG = "{http://www.w3.org/2000/svg}"


def test_every_point_of_every_series_is_drawn_in_order_of_size():
    plot = ET.fromstring(
        lines("Title", Axis("clients"), Axis("ms"), {"a": [(1, 10), (2, 20)], "b": [(1, 5)]})
    )

    heights = [float(dot.get("cy")) for dot in plot.iter(f"{SVG}circle")]
    assert len(heights) == 3
    assert heights[1] < heights[0] < heights[2]  # SVG's y grows downwards


def test_a_point_that_is_not_a_number_is_left_out():
    plot = ET.fromstring(
        lines("Title", Axis("x"), Axis("y"), {"a": [(1, 1), (2, float("nan")), (3, 2)]})
    )

    assert len(list(plot.iter(f"{SVG}circle"))) == 2


def test_bars_are_as_tall_as_their_values():
    plot = ET.fromstring(bars("Title", Axis("per second"), {"a": {"n": 10}, "b": {"n": 20}}))

    tall = [float(r.get("height")) for r in plot.iter(f"{SVG}rect") if r.get("x")]
    assert tall[1] == pytest.approx(2 * tall[0], abs=0.2)


def test_text_is_escaped():
    ET.fromstring(lines("a < b & c", Axis("<x>"), Axis("y"), {"<script>": [(1, 1), (2, 2)]}))


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (0, 0, False, [0, 1]),
        (3, 700, True, [1, 10, 100, 1000]),
        (1, 1, True, [1, 10]),
    ],
)
def test_ticks_are_round_and_span_the_values(low, high, log, expected):
    assert ticks(low, high, log=log) == pytest.approx(expected)


def test_a_table_aligns_numbers_and_a_file_has_the_names_first(tmp_path):
    rows = [{"name": "a", "n": 1234}, {"name": "b", "n": 5}]

    assert markdown(rows).splitlines() == [
        "| name | n |",
        "| --- | ---: |",
        "| a | 1,234 |",
        "| b | 5 |",
    ]
    write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["name,n", "a,1234", "b,5"]


def test_a_table_replaces_what_stood_between_its_marks_and_nothing_else(tmp_path, capsys):
    document = tmp_path / "study.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n")

    put(document, "a", "new")
    put(document, "absent", "nowhere")

    text = document.read_text()
    assert text == "before\n<!-- a -->\n\nnew\n\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n"
    assert "new" in capsys.readouterr().out
