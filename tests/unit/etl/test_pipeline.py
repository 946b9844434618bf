from __future__ import annotations


def test_x(trained_models):
    assert trained_models.is_dir()
