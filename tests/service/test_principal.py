"""Permissions of a key by its scopes."""

import pytest

from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import SCOPES, Scope
from tertulia.service.principal import Principal


def principal_with(*scopes: Scope) -> Principal:
    return Principal(OrganisationId("o"), KeyId("k"), frozenset(scopes))


@pytest.mark.parametrize(
    ("own", "has_scope"),
    [
        ("read", {"read"}),
        ("post", {"read", "post"}),
        ("operate", {"read", "post", "operate"}),
        ("admin", {"read", "post", "operate", "admin"}),
    ],
)
def test_scope_includes_lesser_scopes(own: Scope, has_scope: set[Scope]) -> None:
    assert {scope for scope in SCOPES if principal_with(own).has_scope(scope)} == has_scope


def test_widest_scope_is_effective() -> None:
    assert principal_with("read", "operate").has_scope("post")


def test_no_scope_permits_nothing() -> None:
    assert not any(principal_with().has_scope(scope) for scope in SCOPES)
