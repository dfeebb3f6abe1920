"""This project's groups."""

from pathlib import Path

from tertulia import Tertulia, read_manifest

EDITORS = "Editors"


async def define_groups(tertulia: Tertulia) -> None:
    """Create or update the agents and the group. Running conversations of the group follow a change."""
    await tertulia.apply(read_manifest(Path(__file__).with_name("editors.yaml")))
