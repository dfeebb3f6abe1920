"""Everything is killed at every step, and the transcript is compared with that of an undisturbed run."""
