"""Whoever votes knows neither the model nor the votes of others: what Argilla tells annotators beyond its page.

Argilla's page hides both from them, its API does not. Owners and admins keep everything.
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
    """Close in `app`, for annotators, what would tell them more than they should know."""
    missing = set(_FOR_ANNOTATORS)
    mounted = [route for mount in app.routes if isinstance(mount, Mount) for route in mount.routes]
    for route in mounted:
        if isinstance(route, APIRoute) and (handler := route.dependant.call) is not None:
            limited = _FOR_ANNOTATORS.get(route.name)
            if limited is not None:
                route.dependant.call = _by_role(handler, limited)
                missing.discard(route.name)
    if missing:  # another Argilla; without its routes closed nobody should vote there
        raise RuntimeError(f"This Argilla has no {', '.join(sorted(missing))}.")


def _by_role(handler: Handler, limited: Callable[..., Awaitable[Any]]) -> Handler:
    async def call(**values: Any) -> Any:
        if values["current_user"].role != UserRole.annotator:
            return await handler(**values)
        return await limited(handler, **values)

    return call


async def _nothing(handler: Handler, **values: Any) -> Any:
    """Refuse a record with all its metadata and everybody's responses; the page of annotators does not ask for it."""
    raise ForbiddenOperationError()


async def _by_visible_metadata(handler: Handler, **values: Any) -> Any:
    """Search, but not by hidden metadata: what a filter finds, and in which order, tells what they are."""
    query = values["body"]
    for each in [*((query.filters and query.filters.and_) or []), *(query.sort or [])]:
        if isinstance(each.scope, MetadataFilterScope):
            wanted = {"name": each.scope.metadata_property, "dataset_id": values["dataset_id"]}
            metadata_property = await MetadataProperty.get_by(values["db"], **wanted)
            if metadata_property is not None and not metadata_property.visible_for_annotators:
                raise ForbiddenOperationError()
    return await handler(**values)


async def _own_progress(handler: Handler, **values: Any) -> Any:
    """Of the people who vote, name whoever asks."""
    progress = await handler(**values)
    progress.users = [user for user in progress.users if user.username == values["current_user"].username]
    return progress


_FOR_ANNOTATORS = {
    "get_record": _nothing,
    "search_current_user_dataset_records": _by_visible_metadata,
    "get_dataset_progress": _own_progress,
    "get_dataset_users_progress": _own_progress,
}
"""By name of Argilla's route."""
