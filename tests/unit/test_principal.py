"""What a key's scopes let its holder do."""

import pytest

from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import SCOPES, Scope
from tertulia.service.principal import Principal


def holder(*scopes: Scope) -> Principal:
    return Principal(OrganisationId("o"), KeyId("k"), frozenset(scopes))


@pytest.mark.parametrize(
    ("own", "may"),
    [
        ("read", {"read"}),
        ("post", {"read", "post"}),
        ("operate", {"read", "post", "operate"}),
        ("admin", {"read", "post", "operate", "admin"}),
    ],
)
def test_a_scope_includes_those_before_it(own: Scope, may: set[Scope]) -> None:
    assert {scope for scope in SCOPES if holder(own).may(scope)} == may


def test_the_widest_of_several_scopes_counts() -> None:
    assert holder("read", "operate").may("post")


def test_a_key_without_a_scope_that_is_known_may_nothing() -> None:
    assert not any(holder().may(scope) for scope in SCOPES)
