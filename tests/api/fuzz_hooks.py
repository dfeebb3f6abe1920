"""Hooks of the fuzzer: replace half of the generated ids by existing ones; otherwise most requests would get 404."""

import json
import os
import zlib
from typing import Any

import schemathesis

KNOWN: dict[str, str] = json.loads(os.environ.get("TERTULIA_FUZZ_IDS", "{}"))
_ENDS = ("/stop", "/reset-messages")


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> Any:
    """Replace generated ids by existing ones, except on routes that delete or close what they name."""
    operation = context.operation
    if not path_parameters or operation is None or operation.method == "delete" or operation.path.endswith(_ENDS):
        return path_parameters
    return {name: _known(name, value) for name, value in path_parameters.items()}


def _known(name: str, value: Any) -> Any:
    return KNOWN.get(name, value) if zlib.crc32(repr(value).encode()) % 2 else value
