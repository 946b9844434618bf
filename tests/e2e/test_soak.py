"""A short run of the soak study; `python -m benchmarks.soak` is the long one."""

import pytest

from benchmarks.soak import run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_results_expire_with_their_files_and_nothing_is_left(tmp_path, trained_models):
    soak = run(tmp_path / "data", trained_models, tasks=3000, ttl=5, interval=0.25)
    assert soak.accepted == 3000
    assert (soak.left_records, soak.left_files, soak.dead_letters) == (0, 0, 0)
    assert soak.growth("memory_mib") < 1.5
