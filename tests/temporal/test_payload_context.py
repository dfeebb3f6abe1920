"""The serialization context that the workflow runner omits is not used by the data converter."""

import pytest
from temporalio.converter import WorkflowSerializationContext

from tertulia.temporal.encryption import data_converter


@pytest.mark.parametrize("keys", [{}, {"new": bytes(32)}])
def test_converter_ignores_payload_context(keys: dict[str, bytes]) -> None:
    """A converter that used the context would read payloads differently than another process wrote them."""
    converter = data_converter(keys)
    with_context = converter.with_context(
        WorkflowSerializationContext(namespace="default", workflow_id="some-conversation")
    )
    assert with_context.payload_codec is converter.payload_codec
    assert with_context.payload_converter is converter.payload_converter
    assert with_context.failure_converter is converter.failure_converter
    assert converter.external_storage is None
