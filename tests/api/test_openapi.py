"""Fuzzing against the OpenAPI document: no server error and no undocumented response.

`make fuzz` runs the same for longer.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.api.tenant import Tenant, api_url
from tests.harness.command_line import CommandLine

FUZZER = Path(sys.executable).with_name("st")
EXAMPLES = int(os.environ.get("TERTULIA_FUZZ_EXAMPLES", "3"))
"""Requests per route and phase; more than 20 make a long run with all phases and without a timeout."""
LONG = EXAMPLES > 20
SEED = os.environ.get("TERTULIA_FUZZ_SEED", "1")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "ignored_auth",
    "use_after_free",
)
"""Without the checks that valid data is accepted and invalid data refused: some rules concern several fields, and query
parameters accept numbers as text.
"""
LEFT_OUT = r"(/events|/keys/\{key_id\})$"
"""Excluded: the event stream has no end, and the key route could revoke the fuzzer's own key."""
HOOKS = "tests.api.fuzz_hooks"
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(0 if LONG else 600)
def test_api_conforms_to_openapi_document(tertulia: CommandLine, tmp_path: Path) -> None:
    with ExitStack() as clients:
        tenant = Tenant(tertulia, clients, "fuzz", "ordinary")
        # Not the group's default conversation: if the fuzzer pauses that, messages to the group wait for a long time.
        started = {"group": tenant.resources.group_id, "message": "Good evening."}
        other = tenant.client.post("/v1/conversations/", json=started).json()["id"]
    header = f"Authorization: {tenant.client.headers['Authorization']}"
    command = [
        *(str(FUZZER), "run", f"{api_url(tertulia)}/openapi.json", "--no-color", "--continue-on-failure"),
        *("--header", header, "--checks", ",".join(CHECKS), "--request-timeout", "60"),
        *("--seed", SEED, "--max-examples", str(EXAMPLES)),
        *("--phases", "coverage,fuzzing,stateful" if LONG else "fuzzing,stateful"),
        *("--exclude-path-regex", LEFT_OUT),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": HOOKS,
        "TERTULIA_FUZZ_IDS": json.dumps(asdict(tenant.resources) | {"conversation_id": other}),
    }
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    if LONG:
        print(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr
    assert " generated" in ended.stdout
    log = (tertulia.data / "logs" / "api.log").read_text()
    assert " 500 " not in log and " ERROR " not in log
