"""How workflows are run: what the runner leaves out is what nobody asks for."""

import pytest
from temporalio.converter import WorkflowSerializationContext

from tertulia.temporal.encryption import data_converter


@pytest.mark.parametrize("keys", [{}, {"new": bytes(32)}])
def test_converter_ignores_payload_context(keys: dict[str, bytes]) -> None:
    """The runner tells none of it: one that wanted to know would read what another one has written."""
    converter = data_converter(keys)
    told = converter.with_context(WorkflowSerializationContext(namespace="default", workflow_id="some-conversation"))
    assert told.payload_codec is converter.payload_codec
    assert told.payload_converter is converter.payload_converter
    assert told.failure_converter is converter.failure_converter
    assert converter.external_storage is None
