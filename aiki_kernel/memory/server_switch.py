"""One collection of a server in the place of another, by an alias, so that a killed process
leaves the old one or the new one, and never none."""

from __future__ import annotations

from typing import Any

from qdrant_client import QdrantClient, models

MARK = ".aiki-"


def switch(client: QdrantClient, name: str, fresh: str) -> None:
    """Let our name mean ``fresh``.

    Where the name is an alias, that is one atomic step. Where it is a collection, it has
    to go first: its replacement is marked complete before, and :func:`finish`
    ends the work of a process that was killed between the two.
    """
    old = target(client, name)
    ready = f"{name}{MARK}ready"
    create = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=fresh, alias_name=name)
    )
    if old is not None:
        drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
        client.update_collection_aliases([drop, create])
        client.delete_collection(old)
        return
    mark = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=fresh, alias_name=ready)
    )
    client.update_collection_aliases([mark])
    client.delete_collection(name)
    unmark = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ready))
    client.update_collection_aliases([create, unmark])


def finish(client: QdrantClient, name: str) -> None:
    """End what a process began that was killed between the two steps of :func:`switch`."""
    ready = f"{name}{MARK}ready"
    aimed = target(client, name, ready)
    if aimed is None:
        return
    operations: list[Any] = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ready))
    ]
    if client.collection_exists(name):
        client.update_collection_aliases(operations)
        return
    create = models.CreateAlias(collection_name=aimed, alias_name=name)
    operations.insert(0, models.CreateAliasOperation(create_alias=create))
    client.update_collection_aliases(operations)


def sweep(client: QdrantClient, name: str) -> None:
    """Remove what earlier rebuilds of this collection left when they were killed."""
    live = {one.collection_name for one in client.get_aliases().aliases}
    for one in client.get_collections().collections:
        if one.name.startswith(f"{name}{MARK}") and one.name not in live:
            client.delete_collection(one.name)


def target(client: QdrantClient, name: str, alias: str = "") -> str | None:
    """The collection that ``alias`` (or our own name) is an alias of; None if it is none."""
    wanted = alias or name
    found = client.get_aliases().aliases
    return next((one.collection_name for one in found if one.alias_name == wanted), None)
