"""The environment of a stack that must not depend on the settings of the process that starts it."""

import os

_SETTING_PREFIXES = ("TEMPORAL_", "OPENAI_", "TERTULIA_", "DATABASE_URL")
"""Names of variables that configure a program of this project start with one of these."""


def isolated_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings and without Temporal profiles, plus `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTING_PREFIXES)}
    return kept | {"TEMPORAL_CONFIG_FILE": os.devnull} | variables
