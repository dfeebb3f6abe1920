"""The import of `tertulia` itself."""

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "tertulia"


def test_links_checked_out_as_text_are_named(tmp_path: Path) -> None:
    copy = tmp_path / "tertulia"
    copy.mkdir()
    shutil.copy(PACKAGE / "__init__.py", copy)
    # What git writes with core.symlinks=false: a file with the target of the link.
    (copy / "workflows").write_text("../workflows")
    done = subprocess.run([sys.executable, "-c", "import tertulia"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "`git config core.symlinks true && git checkout -- tertulia`" in done.stderr


def test_import_loads_no_module_of_ours() -> None:
    script = "import sys, tertulia; print(*[name for name in sys.modules if name.startswith('tertulia.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "", "it is imported again in every workflow sandbox"
