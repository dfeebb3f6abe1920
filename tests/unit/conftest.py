"""How hard hypothesis tries: the same examples every time where `CI` is set, new ones elsewhere."""

import os

from hypothesis import HealthCheck, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("local", max_examples=60, deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "ci", max_examples=60, deadline=None, suppress_health_check=_QUIET, derandomize=True, database=None
)
settings.load_profile("ci" if os.environ.get("CI") else "local")
