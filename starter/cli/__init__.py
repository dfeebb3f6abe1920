"""The command line: a thin layer over the typed client and the embedded stack."""

from tertulia.starter.cli.app import main

__all__ = ["main"]
