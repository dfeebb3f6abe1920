"""This project's tables."""
