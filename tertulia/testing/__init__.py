"""Test helpers for this project and its users."""

from tertulia.testing.client import DirectClient

__all__ = ["DirectClient"]
