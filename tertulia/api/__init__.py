"""The HTTP side of the house: what programs and browsers talk to."""
