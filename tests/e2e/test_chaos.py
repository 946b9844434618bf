"""A short run of the chaos study; `make chaos` is the long one."""

import pytest

from benchmarks.chaos.run import run


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "servers",
    [
        pytest.param(False, id="embedded"),
        pytest.param(True, id="rabbitmq-redis", marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
    ],
)
def test_everything_accepted_is_accounted_for_whatever_is_killed(
    tmp_path, trained_models, servers, request
):
    if servers:
        request.getfixturevalue("rabbitmq_url")
        request.getfixturevalue("redis_url")
    report = run(
        tmp_path, trained_models, kills=20, seed=3, servers=servers, most_rows=500, clients=2
    )
    assert report.kept, report
    assert sum(report.blows.values()) == 20
    assert report.account.done == report.account.accepted.total() > 0
