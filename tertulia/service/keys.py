"""API keys: made, shown once, checked, revoked. Law: nobody gives a key more than they may do themselves."""

import hashlib
import re
import secrets
import uuid

from tertulia.core.ids import KeyId, OrganisationId
from tertulia.core.keys import SCOPES
from tertulia.core.keys import MadeKey as MadeKey
from tertulia.core.keys import NewKey as NewKey
from tertulia.core.organisations import NewOrganisation
from tertulia.service.key_forms import checked_form
from tertulia.service.key_forms import new_key as new_key
from tertulia.service.principal import Forbidden, Principal
from tertulia.store.database import Database
from tertulia.store.keys import find_key, insert_key, note_use

PREFIX = "tertulia_"
_RANDOM_BYTES = 32
_HINT_LENGTH = len(PREFIX) + 4
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{40,64}}")


def new_organisation(organisation_id: str, name: str | None = None) -> NewOrganisation:
    """An organisation that is to be made, as somebody wrote it; its name is its id where there is none.

    Raises:
        InvalidDefinition: it cannot be made like that.
    """
    return checked_form(NewOrganisation, {"id": organisation_id, "name": name or organisation_id})


async def create_key(
    database: Database, organisation_id: OrganisationId, new: NewKey, *, granted_by: Principal | None = None
) -> MadeKey:
    """Make a key; `granted_by` is whose key makes it, None = the operator of this system.

    Raises:
        Forbidden: who makes it lacks one of its scopes.
    """
    if granted_by is not None:
        lacking = [scope for scope in new.scopes if not granted_by.may(scope)]
        if lacking:
            raise Forbidden(f"your key cannot grant a scope that it lacks: {', '.join(lacking)}")
    secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    kept = await insert_key(
        database,
        organisation_id,
        KeyId(f"key-{uuid.uuid4()}"),
        name=new.name,
        digest=_digest(secret),
        hint=secret[:_HINT_LENGTH],
        scopes=new.scopes,
    )
    return MadeKey(kept, secret)


async def check_key(database: Database, secret: str) -> Principal | None:
    """Who holds this key; None where it is not a key, or was revoked.

    It is looked up each time, by the index of its SHA-256: a revoked key stops working at once.
    """
    if not _FORM.fullmatch(secret):
        return None
    found = await find_key(database, _digest(secret))
    if found is None:
        return None
    key = found.key
    if found.note_use:
        await note_use(database, key.id)
    return Principal(key.organisation_id, key.id, frozenset(scope for scope in SCOPES if scope in key.scopes))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
