"""How tasks are put together into requests, and what becomes of those that are refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.broker.port import Delivery
from aimq.errors import ClientError, Invalid, MlUnavailable, TooLarge, Unauthorized
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.messages import Kind, Message
from batch_processor.disposition import Ack
from batch_processor.predictions import PredictionHandler
from batch_processor.work import Work

MAX_BYTES = 1000


class MlService:
    """Answers each record with itself; refuses a request that has a guilty one in it."""

    def __init__(self, refusal=None, guilty=()):
        self.sizes, self._refusal, self._guilty = [], refusal, set(guilty)
        self.models = []

    def predict_records(self, records, model):
        values = [json.loads(bytes(record)) for record in records]
        self.sizes.append(len(values))
        self.models.append(model)
        if self._guilty & {value["n"] for value in values}:
            raise self._refusal
        return [{"predicted_price": value["n"], "model_group": "A"} for value in values]


def task(n, size=0, model=""):
    record = {"n": n, "pad": "x" * size}
    job = Job(kind=Kind.PREDICTION, input=json.dumps(record).encode(), model=model)
    delivery = Delivery(queue="q", body=b"", message_id=job.job_id)
    message = Message(job_id=job.job_id, kind=job.kind)
    return Work(delivery, message, Claim(job=job, token="t"), store=None)


def outputs(results):
    return [
        json.loads(result.result)["predicted_price"] if isinstance(result, Ack) else result
        for result in results
    ]


@given(st.lists(st.integers(0, 1500), max_size=40))
def test_requests_are_bounded_by_bytes_and_answers_keep_their_order(sizes):
    ml = MlService()
    works = [task(n, size) for n, size in enumerate(sizes)]
    assert outputs(PredictionHandler(ml, MAX_BYTES)(works)) == list(range(len(sizes)))
    ends = [sum(ml.sizes[: n + 1]) for n in range(len(ml.sizes))]
    for start, end in zip([0, *ends], ends, strict=False):
        size = sum(len(work.job.input) for work in works[start:end])
        assert size <= MAX_BYTES or end - start == 1


@pytest.mark.parametrize("kind", [TooLarge, ClientError, Invalid])
@given(guilty=st.sets(st.integers(0, 63), min_size=1))
def test_a_request_refused_as_a_whole_fails_the_guilty_tasks_only(kind, guilty):
    refusal = kind("no")
    results = PredictionHandler(MlService(refusal, guilty), 10**6)([task(n) for n in range(64)])
    assert outputs(results) == [refusal if n in guilty else n for n in range(64)]


@pytest.mark.parametrize("kind", [MlUnavailable, Unauthorized])
def test_what_is_no_records_fault_is_asked_once(kind):
    ml = MlService(kind("no"), {7})
    results = PredictionHandler(ml, 10**6)([task(n) for n in range(64)])
    assert {type(result) for result in results} == {kind}
    assert ml.sizes == [64]


@given(st.lists(st.sampled_from(["", "houses", "wine"]), max_size=40))
def test_a_request_is_for_one_model_and_answers_keep_their_order(models):
    ml = MlService()
    works = [task(n, model=model) for n, model in enumerate(models)]
    assert outputs(PredictionHandler(ml, MAX_BYTES)(works)) == list(range(len(models)))
    assert set(ml.models) == set(models)
    asked = {model: models.count(model) for model in models}
    sent = dict.fromkeys(models, 0)
    for model, size in zip(ml.models, ml.sizes, strict=True):
        sent[model] += size
    assert sent == asked


@pytest.mark.parametrize(
    ("answer", "versions"),
    [
        ({"price": 1.5, "price_low": 1, "price_high": 2, "region": "north"}, {"north": "v1"}),
        ({"price": 1.5}, {"all": "v1"}),
        ({"sold": "yes", "probability": 0.9, "region": "north"}, {"north": "v1"}),
        ({"sold": "yes", "probability": 0.9, "warning": "area: 900 is outside"}, {"all": "v1"}),
    ],
)
def test_a_task_notes_the_version_of_its_group(answer, versions):
    answer["model_version"] = "v1"

    class Fixed:
        def predict_records(self, records, model):
            return [answer]

    (result,) = PredictionHandler(Fixed(), MAX_BYTES)([task(1, model="houses")])
    assert result.model_versions == versions
    assert json.loads(result.result) == answer
