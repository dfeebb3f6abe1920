"""This project's activities."""
