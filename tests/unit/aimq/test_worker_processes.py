import socket
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aimq.http.workers import Worker, summed


def exposition(requests: int, under_way: int, seconds: list[float], started: float) -> str:
    registry = CollectorRegistry()
    counter = Counter("aimq_requests", "Requests.", ["route", "status"], registry=registry)
    counter.labels('/a"b', "200").inc(requests)
    if requests > 1:
        counter.labels("/only", "503").inc()
    Gauge("aimq_under_way", "Under way.", registry=registry).set(under_way)
    histogram = Histogram("aimq_seconds", "Time.", buckets=(0.1, 1.0), registry=registry)
    for value in seconds:
        histogram.observe(value)
    Gauge("process_start_time_seconds", "Start.", registry=registry).set(started)
    Gauge("aimq_ml_feature_drift", "Drift.", registry=registry).set(started / 1000)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_gauges_and_histograms_of_all_workers_are_summed():
    one = exposition(requests=1, under_way=2, seconds=[0.05], started=100.0)
    two = exposition(requests=5, under_way=1, seconds=[0.5, 5.0], started=200.0)
    found = samples(summed([one, two]).decode())
    assert found["aimq_requests_total", (("route", '/a"b'), ("status", "200"))] == 6
    assert found["aimq_requests_total", (("route", "/only"), ("status", "503"))] == 1
    assert found["aimq_under_way", ()] == 3
    assert found["aimq_seconds_bucket", (("le", "0.1"),)] == 1
    assert found["aimq_seconds_bucket", (("le", "1.0"),)] == 2
    assert found["aimq_seconds_bucket", (("le", "+Inf"),)] == 3
    assert found["aimq_seconds_sum", ()] == 5.55
    assert found["process_start_time_seconds", ()] == 200.0
    assert found["aimq_ml_feature_drift", ()] == 0.2


def test_the_sum_of_one_exposition_is_that_exposition():
    one = exposition(requests=3, under_way=2, seconds=[0.05, 0.5], started=100.0)
    assert samples(summed([one]).decode()) == samples(one)


def test_a_worker_is_handed_over_as_text():
    worker = Worker(2, 7, Path("/tmp/with:colon"))
    assert Worker.parse(str(worker)) == worker


def test_a_worker_listens_on_the_shared_port_and_on_one_of_its_own(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as shared:
        worker = Worker(1, shared.fileno(), tmp_path)
        both, own = worker.listen()
        assert both.getsockname() == shared.getsockname()
        assert (tmp_path / "1").read_text() == str(own.getsockname()[1])
        own.close()
        both.detach()
