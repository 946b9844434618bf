"""Which model a sheet is for, by its header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.ml_client.served_models import ServedModel, choose_model, read_models, unknown_model

NAMES = st.sampled_from(["area", "rooms", "region", "colour", "alcohol"])


def model(name, columns, required=None, default=False):
    required = columns if required is None else required
    return ServedModel(
        name=name, version="v1", default=default, columns=tuple(columns), required=tuple(required)
    )


@st.composite
def catalogues(draw):
    """Some models of distinct names, at most one of them the default."""
    columns = draw(st.lists(st.sets(NAMES, min_size=1), max_size=4))
    default = draw(st.integers(0, 4))
    return [
        model(f"m{n}", sorted(of), draw(st.sets(st.sampled_from(sorted(of)))), n == default)
        for n, of in enumerate(columns)
    ]


def fits(header, candidate):
    return set(candidate.required) <= set(header) and bool(set(candidate.columns) & set(header))


@given(st.lists(NAMES), catalogues())
def test_the_choice_has_its_columns_and_is_the_only_one_or_the_default(header, models):
    fitting = {each.name for each in models if fits(header, each)}
    defaults = {each.name for each in models if each.default} & fitting
    if len(fitting) > 1 and not defaults:
        with pytest.raises(Invalid) as caught:
            choose_model(header, models)
        assert all(name in caught.value.detail for name in fitting)
    else:
        assert choose_model(header, models) in (defaults or fitting or {None})


@given(st.lists(NAMES), catalogues(), st.randoms())
def test_the_order_of_columns_and_models_does_not_matter(header, models, random):
    def chosen(header, models):
        try:
            return choose_model(header, models)
        except Invalid as exc:
            return exc.detail

    shuffled, others = random.sample(header, len(header)), random.sample(models, len(models))
    assert chosen(header, models) == chosen(shuffled, others)


def test_case_and_outer_space_and_further_columns_do_not_matter():
    houses = model("houses", ["area", "rooms"])
    assert choose_model([" AREA", "note", "Rooms ", ""], [houses]) == "houses"


def test_a_column_that_may_be_blank_may_be_absent():
    houses = model("houses", ["area", "rooms"], ["area"])
    assert choose_model(["area"], [houses]) == "houses"
    assert choose_model(["rooms"], [houses]) is None


def test_a_model_that_requires_nothing_needs_one_of_its_columns():
    houses = model("houses", ["area"], [])
    assert choose_model(["colour"], [houses]) is None
    assert choose_model(["area"], [houses]) == "houses"


def test_a_model_that_could_not_be_read_fits_nothing():
    assert choose_model(["area"], [ServedModel(name="damaged")]) is None


def test_several_that_fit_are_listed_with_what_to_do():
    with pytest.raises(Invalid, match=r"a, b\. .*aimq upload --model") as caught:
        choose_model(["area"], [model("b", ["area"]), model("a", ["area"])])
    assert caught.value.errors[0]["field"] == "model"


def test_the_list_is_read_and_fields_not_needed_are_passed_over():
    body = b'{"name": "x", "models": [{"name": "a", "version": null, "canary": {"percent": 1}}]}'
    assert read_models(body) == (ServedModel(name="a"),)


def test_an_unknown_name_is_shortened_and_the_list_bounded():
    error = unknown_model("x" * 10_000, (f"m{n:02}" for n in range(30)))
    assert "m00, m01" in error.detail
    assert "and 10 more" in error.detail
    assert len(error.detail) < 400
