"""Chaos tests: everything is killed at every step; the transcript is compared with that of an undisturbed run."""
