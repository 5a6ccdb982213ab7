"""Closes what Argilla's API would show annotators beyond the web page: the model, and the votes of others.

Owners and admins keep everything.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from argilla_server.api.schemas.v1.records import MetadataFilterScope
from argilla_server.enums import UserRole
from argilla_server.errors import ForbiddenOperationError
from argilla_server.models import MetadataProperty
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount

Handler = Callable[..., Awaitable[Any]]


def close(app: FastAPI) -> None:
    """Replace, for annotators, the handlers of `app` that would tell them too much."""
    limits = {
        "get_record": _refuse,
        "search_current_user_dataset_records": _search_visible_metadata,
        "get_dataset_progress": _own_progress,
        "get_dataset_users_progress": _own_progress,
    }
    mounted = [route for mount in app.routes if isinstance(mount, Mount) for route in mount.routes]
    routes = {route.name: route for route in mounted if isinstance(route, APIRoute)}
    for name, limited in limits.items():
        route = routes[name]  # a KeyError: another Argilla, in which nobody should vote before this is adapted
        route.dependant.call = _by_role(route.dependant.call, limited)


def _by_role(handler: Any, limited: Callable[..., Awaitable[Any]]) -> Handler:
    async def call(**values: Any) -> Any:
        if values["current_user"].role == UserRole.annotator:
            return await limited(handler, **values)
        return await handler(**values)

    return call


async def _refuse(handler: Handler, **values: Any) -> Any:
    """Refuse a record with all its metadata and everybody's responses; the page of annotators does not ask for it."""
    raise ForbiddenOperationError()


async def _search_visible_metadata(handler: Handler, **values: Any) -> Any:
    """Search, but not by hidden metadata: what a filter finds, and in which order, tells what they are."""
    query = values["body"]
    for term in [*((query.filters and query.filters.and_) or []), *(query.sort or [])]:
        if isinstance(term.scope, MetadataFilterScope):
            wanted = {"name": term.scope.metadata_property, "dataset_id": values["dataset_id"]}
            metadata_property = await MetadataProperty.get_by(values["db"], **wanted)
            if metadata_property is not None and not metadata_property.visible_for_annotators:
                raise ForbiddenOperationError()
    return await handler(**values)


async def _own_progress(handler: Handler, **values: Any) -> Any:
    """Return the progress without the names of others."""
    progress = await handler(**values)
    progress.users = [user for user in progress.users if user.username == values["current_user"].username]
    return progress
