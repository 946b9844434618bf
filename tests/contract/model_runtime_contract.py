"""What every model runtime must do, whatever executes its models.

A subclass gives the fixture `runtime`; the plugin `redisai_server.fixtures` gives `forests`.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from redisai_server.onnx_models import linear, publish

from aimq.errors import AimqError, ModelRefused

GROUPS = ("A", "B", "C")


def matrix_of(rows: int, features: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def assert_right(forest, matrix, values):
    assert values.dtype == np.float32
    assert values.shape == (len(matrix),)
    np.testing.assert_allclose(values, forest.expected(matrix), rtol=1e-5)


async def predicted(loaded, matrix):
    """Predict on the event loop."""
    return (await loaded.predict_async(matrix)).values


class ModelRuntimeContract:
    @pytest.fixture
    def loaded(self, runtime, forests):
        return {group: runtime.load(forests[group].file) for group in GROUPS}

    def test_it_says_its_name(self, runtime):
        assert runtime.name

    @pytest.mark.parametrize("rows", [1, 2, 63, 5000])
    @pytest.mark.parametrize("group", GROUPS)
    def test_every_row_has_its_right_answer(self, loaded, forests, group, rows):
        matrix = matrix_of(rows, forests[group].file.features)
        assert_right(forests[group], matrix, loaded[group].predict(matrix).values)

    def test_no_rows_have_no_answers(self, loaded, forests):
        matrix = matrix_of(0, forests["A"].file.features)
        values = loaded["A"].predict(matrix).values
        assert (values.shape, values.dtype) == ((0,), np.float32)

    def test_answers_do_not_get_mixed_up_between_threads(self, loaded, forests):
        choose = random.Random(7)
        asked = [
            (group, matrix_of(choose.choice((1, 1, 1, 4, 50)), forests[group].file.features, seed))
            for seed in range(300)
            for group in [choose.choice(GROUPS)]
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda ask: loaded[ask[0]].predict(ask[1]).values, asked))
        for (group, matrix), values in zip(asked, answers, strict=True):
            assert_right(forests[group], matrix, values)

    async def test_answers_do_not_get_mixed_up_on_the_event_loop(self, loaded, forests):
        choose = random.Random(9)

        async def ask(seed: int) -> None:
            group = choose.choice(GROUPS)
            matrix = matrix_of(choose.choice((1, 1, 3, 40)), forests[group].file.features, seed)
            await asyncio.sleep(choose.random() / 50)
            assert_right(forests[group], matrix, await predicted(loaded[group], matrix))

        async with asyncio.TaskGroup() as tasks:
            for seed in range(300):
                tasks.create_task(ask(seed))

    async def test_cancelled_predictions_leave_the_others_right(self, loaded, forests):
        choose = random.Random(13)
        wanted = {}
        for seed in range(200):
            group = choose.choice(GROUPS)
            matrix = matrix_of(1 + seed % 5, forests[group].file.features, seed)
            task = asyncio.create_task(predicted(loaded[group], matrix))
            wanted[task] = (forests[group], matrix)
        doomed = [task for task in wanted if choose.random() < 0.4]
        for task in doomed:
            await asyncio.sleep(0)  # each is cancelled at another point of its way
            task.cancel()
        await asyncio.gather(*wanted, return_exceptions=True)
        kept = [task for task in wanted if not task.cancelled()]
        assert len(kept) >= len(wanted) - len(doomed)
        for task in kept:
            assert_right(*wanted[task], task.result())

    def test_a_matrix_of_another_width_is_refused_and_harms_nobody(self, loaded, forests):
        right = matrix_of(3, forests["B"].file.features)
        for wrong in (right[:, :-1], np.hstack([right, right])):
            with pytest.raises(AimqError):
                loaded["B"].predict(np.ascontiguousarray(wrong))
        assert_right(forests["B"], right, loaded["B"].predict(right).values)

    def test_a_truncated_model_is_refused(self, runtime, forests, tmp_path):
        content = forests["A"].file.path.read_bytes()
        cut = publish(tmp_path, content[: len(content) // 2], group="A", features=4, version="cut")
        with pytest.raises(ModelRefused):
            runtime.load(cut)

    def test_a_model_of_another_width_than_its_schema_is_refused(self, runtime, tmp_path):
        content = linear(np.ones((3, 1), np.float32))
        wrong = publish(tmp_path, content, group="A", features=5, version="wide")
        with pytest.raises(ModelRefused):
            runtime.load(wrong)

    def test_a_model_that_answers_several_numbers_a_row_is_refused(self, runtime, tmp_path):
        content = linear(np.ones((3, 2), np.float32))
        wrong = publish(tmp_path, content, group="A", features=3, version="two")
        with pytest.raises(ModelRefused):
            runtime.load(wrong)

    @pytest.mark.parametrize("rows", [0, 1, 2, 5000])
    def test_a_model_of_classes_answers_a_probability_for_each_class(
        self, runtime, classifier, rows
    ):
        matrix = matrix_of(rows, 4)
        values = runtime.load(classifier.file).predict(matrix).values
        assert (values.shape, values.dtype) == ((rows, 3), np.float32)
        if rows:
            np.testing.assert_allclose(values, classifier.expected(matrix), atol=1e-5)

    async def test_probabilities_are_the_same_on_the_event_loop(self, runtime, classifier):
        model = runtime.load(classifier.file)
        for rows in (1, 3, 100):
            matrix = matrix_of(rows, 4, seed=rows)
            values = await predicted(model, matrix)
            assert values.shape == (rows, 3)
            np.testing.assert_allclose(values, classifier.expected(matrix), atol=1e-5)

    def test_a_row_whose_bytes_read_as_a_separator_has_its_right_probabilities(
        self, runtime, classifier
    ):
        matrix = matrix_of(3, 4)
        matrix[0, 0] = np.frombuffer(b"|>\0\x4b", np.float32)[0]
        values = runtime.load(classifier.file).predict(matrix).values
        np.testing.assert_allclose(values, classifier.expected(matrix), atol=1e-5)

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_a_model_of_more_classes_than_its_schema_is_refused(
        self, runtime, classifier, tmp_path, outputs
    ):
        content = classifier.file.path.read_bytes()
        wrong = publish(
            tmp_path, content, group="all", features=4, version=f"w{outputs}", outputs=outputs
        )
        with pytest.raises(ModelRefused):
            runtime.load(wrong)

    def test_two_versions_are_served_side_by_side(self, runtime, tmp_path):
        matrix = matrix_of(4, 3)
        models = [
            runtime.load(
                publish(
                    tmp_path,
                    linear(np.full((3, 1), factor, np.float32)),
                    group="A",
                    features=3,
                    version=f"v{factor}",
                )
            )
            for factor in (1, 2)
        ]
        first, second = (model.predict(matrix).values for model in models)
        np.testing.assert_allclose(first, matrix.sum(axis=1), rtol=1e-4)
        np.testing.assert_allclose(second, 2 * matrix.sum(axis=1), rtol=1e-4)
        del models[0]
        np.testing.assert_allclose(models[0].predict(matrix).values, second)

    def test_a_version_published_again_with_another_content_answers_as_the_new_one(
        self, runtime, tmp_path
    ):
        matrix, answers = matrix_of(4, 3), []
        for folder, factor in (("old", 1), ("new", 3)):
            content = linear(np.full((3, 1), factor, np.float32))
            file = publish(tmp_path / folder, content, group="A", features=3, version="same")
            answers.append(runtime.load(file).predict(matrix).values)
        np.testing.assert_allclose(answers[1], 3 * answers[0], rtol=1e-4)

    def test_closing_twice_is_allowed(self, runtime, forests):
        runtime.load(forests["A"].file)
        runtime.close()
        runtime.close()
