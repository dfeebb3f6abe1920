"""The demonstration: a live conversation whose members change and whose worker is killed, and the proof."""

from tertulia.starter.demo.run import run_demo

__all__ = ["run_demo"]
