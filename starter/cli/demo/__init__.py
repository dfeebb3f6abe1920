"""The demonstration: a live conversation whose members change and whose worker is killed, and the proof."""
