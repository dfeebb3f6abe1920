"""Makes the search attributes known to a Temporal server: a workflow that sets an unknown one would be stuck."""

import logging

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from tertulia.workflows.ui_details import GROUP_ID, MEMBERS, PHASE, STOP_REASON

_ATTRIBUTE_TYPES = {
    GROUP_ID.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    PHASE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    MEMBERS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    STOP_REASON.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}

logger = logging.getLogger(__name__)


async def register_search_attributes(client: Client) -> None:
    """Register those that the client's namespace lacks. Where that is not permitted, an operator has to do it."""
    service = client.operator_service
    try:
        existing = await service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
        if missing := {
            name: value_type for name, value_type in _ATTRIBUTE_TYPES.items() if name not in existing.custom_attributes
        }:
            request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
            await service.add_search_attributes(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            logger.warning(
                "search attributes could not be registered (%s): %s are needed", error, ", ".join(_ATTRIBUTE_TYPES)
            )
