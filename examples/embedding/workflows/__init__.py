"""This project's workflows."""
