"""The form of docstrings and module names, over all Python files of the project."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("tertulia", "workflows", "activities", "starter", "worker.py")
CHECKED = (*PRODUCT, "tests", "benchmarks", "chaos", "docs", "examples")
QUESTION_WORDS = ("What", "Who", "Whom", "Whose", "How", "Whether", "Where", "When", "That")
MAX_GERUND_SHARE = 0.03
NOUNS = {"testing", "timing", "paging", "string", "setting"}
"""Names that end in -ing and are established nouns."""


def python_files(*places: str) -> list[Path]:
    """Return the tracked Python files below these places, without links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *places], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name.endswith(".py")]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every docstring with its line: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text


@pytest.mark.parametrize("place", CHECKED)
def test_docstring_does_not_open_with_a_question_word(place: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip().splitlines()[0]}"
        for path in python_files(place)
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if re.match(rf"({'|'.join(QUESTION_WORDS)})\b", text.strip())
    ]
    assert found == []


def test_few_modules_are_named_by_a_gerund() -> None:
    names = [path.stem if path.stem != "__init__" else path.parent.name for path in python_files(*PRODUCT)]
    gerunds = [name for name in names if name.split("_")[-1].endswith("ing") and name.split("_")[-1] not in NOUNS]
    assert len(gerunds) < MAX_GERUND_SHARE * len(names), gerunds
