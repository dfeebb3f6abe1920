"""The embedded stack's own API key, in a file that only its owner can read.

It protects as much as the data folder does, which also holds the database.
"""

import os
from pathlib import Path

from tertulia.core.ids import DEFAULT_ORGANISATION
from tertulia.core.keys import NewKey
from tertulia.service.keys import check_key, create_key
from tertulia.store.database import Database

KEY_FILE = "api-key"
_OWNER_MODE = 0o600


async def local_key(database_url: str, data: Path) -> Path:
    """Return the path of the key. It is created if it is missing or the database does not know it."""
    path = data / KEY_FILE
    async with Database(database_url, pool_size=1) as database:
        principal = await check_key(database, _read_key(path))
        if principal is None or not principal.has_scope("admin"):
            created = await create_key(database, DEFAULT_ORGANISATION, NewKey(name="local", scopes=("admin",)))
            _write_key(path, created.secret)
    return path


def _read_key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _write_key(path: Path, secret: str) -> None:
    """Replace the file atomically; others can never read it."""
    temporary_file = path.with_suffix(".new")
    temporary_file.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_MODE), "w") as file:
        file.write(f"{secret}\n")
    temporary_file.replace(path)
