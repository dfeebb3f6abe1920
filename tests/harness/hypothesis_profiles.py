"""Hypothesis profiles: the same examples every time where `CI` is set, new ones elsewhere; `EXAMPLES` sets how many."""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("EXAMPLES", "60"))
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("local", max_examples=_EXAMPLES, deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "ci", max_examples=_EXAMPLES, deadline=None, suppress_health_check=_QUIET, derandomize=True, database=None
)
settings.load_profile("ci" if os.environ.get("CI") else "local")
