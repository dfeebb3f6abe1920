"""The house: imports point one way, and no file grows beyond what one can read."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ("groups", "store", "activities", "workflows", "starter", "devstack", "worker", "configuration")
MAY_IMPORT = {
    "groups": {"groups"},
    "store": {"groups", "store"},
    "activities": {"groups", "store", "activities", "configuration"},
    "workflows": {"groups", "activities.contracts", "workflows"},
    "configuration": {"configuration"},
}
PURE = {"groups": {"pydantic"}, "workflows": {"temporalio", "pydantic", "cryptography"}}
"""The only packages of others that these import, beside the standard library."""
BANNED_IN_GROUPS = {"asyncio", "random", "time", "uuid", "os", "socket", "threading", "subprocess", "pathlib"}
MAX_LINES = 400


def sources(package: str) -> list[Path]:
    folder = ROOT / package
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert found, package
    return found


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports; of `from a import b`, `a.b` where that is a module, else `a`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute here"
            yield from (_target(node.module, alias.name) for alias in node.names)


def _target(module: str, name: str) -> str:
    inside = ROOT.joinpath(*module.split(".")) / name
    return f"{module}.{name}" if inside.is_dir() or inside.with_suffix(".py").exists() else module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] in HOUSE and not {name, name.split(".")[0]} & allowed
    ]
    assert not wrong


@pytest.mark.parametrize("package", PURE)
def test_the_core_and_the_workflows_lean_on_no_other_packages(package: str) -> None:
    allowed = PURE[package] | set(sys.stdlib_module_names) | set(HOUSE)
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] not in allowed
    ]
    assert not wrong


def test_the_core_has_no_clock_no_randomness_and_no_io() -> None:
    found = {name.split(".")[0] for path in sources("groups") for name in imports(path)}
    assert not found & BANNED_IN_GROUPS


def test_no_file_is_longer_than_one_can_read() -> None:
    everything = [path for package in (*HOUSE, "tests") for path in sources(package)]
    long = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in everything}
    assert {path: lines for path, lines in long.items() if lines > MAX_LINES} == {}


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after importing `module`."""
    script = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_workflows_load_neither_a_database_nor_a_model_client() -> None:
    assert not loaded_by("workflows.conversation") & {"sqlalchemy", "psycopg", "openai", "alembic", "store", "starter"}


def test_the_core_loads_nothing_but_pydantic() -> None:
    modules = ("machine", "door", "prompt", "window", "words", "status")
    loaded = loaded_by(", ".join(f"groups.{module}" for module in modules))
    assert not loaded & {"temporalio", "sqlalchemy", "openai", "psycopg", "store", "activities", "workflows"}
    assert "pydantic" in loaded
