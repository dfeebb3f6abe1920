"""The search attributes of conversations, and their registration with a Temporal server.

Invariant: they are registered before a worker starts. A workflow task that sets an unknown attribute fails until an
operator registers it.
"""

import logging

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

GROUP_ID = SearchAttributeKey.for_keyword("GroupId")
PHASE = SearchAttributeKey.for_keyword("ConversationPhase")
MEMBERS = SearchAttributeKey.for_keyword_list("Members")
STOP_REASON = SearchAttributeKey.for_keyword("StopReason")

_ATTRIBUTE_TYPES = {
    GROUP_ID.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    PHASE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    MEMBERS.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    STOP_REASON.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}

logger = logging.getLogger(__name__)


async def register_search_attributes(client: Client) -> None:
    """Register the attributes that the client's namespace lacks; log a warning if the server does not permit it."""
    service = client.operator_service
    try:
        existing = await service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
        if missing := {
            name: value_type for name, value_type in _ATTRIBUTE_TYPES.items() if name not in existing.custom_attributes
        }:
            request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
            await service.add_search_attributes(request)
    except RPCError as error:
        # Two workers that start at the same moment both try; the second is refused.
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            logger.warning(
                "cannot register search attributes in namespace %r (%s); an operator has to register %s",
                client.namespace,
                error,
                ", ".join(_ATTRIBUTE_TYPES),
            )
