"""Pytest plugin of `make check`: measure no coverage in property tests, which execute the same lines many times.

Invariant: the tests themselves stay the same. With coverage, property tests would take twice as long.
"""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of hypothesis with the marker of pytest-cov that pauses the measurement."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)
