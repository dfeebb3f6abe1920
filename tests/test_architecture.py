"""Import contracts that import-linter cannot express, and the form of the source tree."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tertulia"
LINKED = ("activities", "starter", "worker", "workflows")
"""Real at the top of the repository, linked into the package."""
BANNED_IN_CORE = {"asyncio", "random", "time", "uuid", "os", "socket", "threading", "subprocess", "pathlib"}
THIRD_PARTY = {"core": {"pydantic"}, "workflows": {"temporalio", "pydantic"}}
"""The only third-party packages that these import."""
MAX_LINES = 400


def sources(package: str) -> list[Path]:
    folder = PACKAGE / package
    found = sorted(folder.resolve().rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert found, package
    return found


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, absolute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: imports are absolute"
            yield node.module


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and not (ROOT / name).is_symlink()]


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_core_and_workflows_import_few_packages(package: str) -> None:
    allowed = THIRD_PARTY[package] | set(sys.stdlib_module_names) | {"tertulia"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] not in allowed
    ]
    assert not wrong


def test_core_has_no_clock_randomness_or_io() -> None:
    found = {name.split(".")[0] for path in sources("core") for name in imports(path)}
    assert not found & BANNED_IN_CORE
    assert "pydantic" in found


def test_linked_packages_have_one_import_name() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked_files()
        if not path.is_relative_to(ROOT / "examples")  # projects of users, with modules of the same names
        for name in imports(path)
        if name.split(".")[0] in LINKED
    ]
    assert not wrong


@pytest.mark.parametrize("name", [name for name in LINKED if name != "worker"])
def test_linked_package_refuses_a_bare_import(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert f"import tertulia.{name}, not {name}" in done.stderr


def test_package_list_of_the_wheel_is_complete() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT).parts for path in tracked_files()}
    ours = {parts for parts in folders if parts and parts[0] in ("tertulia", *LINKED)}
    names = {".".join(parts if parts[0] == "tertulia" else ("tertulia", *parts)) for parts in ours}
    assert sorted(listed) == sorted(names)


def test_no_file_exceeds_line_limit() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in tracked_files()}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def loaded_by(*modules: str) -> set[str]:
    """Return what a fresh interpreter has loaded after these imports: packages of others, and directories of ours."""
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name.removeprefix("tertulia.") for name in done.stdout.split()]
    return {name.split(".")[0] for name in names}


def test_workflows_load_no_database_or_models() -> None:
    loaded = loaded_by("tertulia.workflows.conversation")
    assert not loaded & {"sqlalchemy", "psycopg", "openai", "alembic", "store", "starter", "activities", "client"}
    assert {"workflows", "core", "temporalio"} <= loaded


def test_core_loads_only_pydantic() -> None:
    modules = ("state_machine", "admission", "prompt", "context_window", "text", "status")
    loaded = loaded_by(*(f"tertulia.core.{module}" for module in modules))
    assert not loaded & {"temporalio", "sqlalchemy", "openai", "psycopg", "store", "activities", "workflows"}
    assert {"pydantic", "core"} <= loaded
