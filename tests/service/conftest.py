"""The workflow harness as a fixture."""

from tests.workflows.conftest import harness

__all__ = ["harness"]
