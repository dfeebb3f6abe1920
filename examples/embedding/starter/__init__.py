"""Entry points of this project."""
