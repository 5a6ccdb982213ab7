"""Argilla's search engine over Argilla's own SQLite tables: no index, no second copy of anything."""

import hashlib
import html
import json
import math
import operator
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argilla_server import models
from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import MetadataPropertyType, ResponseStatusFilter, SimilarityOrder, SortOrder
from argilla_server.models import Dataset, MetadataProperty, Question, Record, Response, Suggestion, User, Vector
from argilla_server.search_engine import base
from argilla_server.search_engine.base import MetadataFilterScope, RecordFilterScope, ResponseFilterScope, TextQuery
from sqlalchemy import ColumnElement, Select, String, and_, case, cast, event, exists, func, or_, select, true
from sqlalchemy.engine import Engine

from kto.vote.argilla_server.text_query import matches

# --- functions that the SQL statements below call ---------------------------------------------------------------------


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value as people read them; of chat messages the contents without the roles."""
    if isinstance(value, str):
        if value.startswith('<div dir="'):  # HTML, see kto/rendering.py
            value = re.sub("<[^>]*>", "\n", re.sub("</?(?:strong|em|code)\\b[^>]*>", "", value))
        yield html.unescape(value)
    elif isinstance(value, dict):
        yield from _texts(value["content"] if {"role", "content"} == set(value) else [*value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _text_matches(query: str, name: str, fields: str) -> bool:
    """Tell whether the `fields` of a record (JSON), or the one with this name, answer `query`."""
    values = json.loads(fields)
    return matches(query, _texts(values.get(name) if name else values))


def _similarity(one: str, other: str) -> float:
    """Cosine similarity of two vectors (JSON), moved to 0 … 1 as Elasticsearch does."""
    a, b = json.loads(one), json.loads(other)
    lengths = math.hypot(*a) * math.hypot(*b)
    return (1 + sum(map(operator.mul, a, b)) / lengths) / 2 if lengths else 0.5


def _shuffle(seed: str, record: str) -> bytes:
    return hashlib.blake2b(record.encode(), key=seed.encode(), digest_size=8).digest()


@event.listens_for(Engine, "connect")
def _add_functions(connection: Any, _: Any) -> None:
    connection.create_function("text_matches", 3, _text_matches, deterministic=True)
    connection.create_function("similarity", 2, _similarity, deterministic=True)
    connection.create_function("shuffle", 2, _shuffle, deterministic=True)


# --- from Argilla's filters and orders to SQL -------------------------------------------------------------------------

_OUTDATED = func.coalesce(func.json_extract(Record.metadata_, "$.outdated"), 0) == 1
"""The prompt of a record is out of use (see kto/vote/outdated.py), so nobody is asked for a vote on it."""


def _json_values(column: Any, *path: str) -> ColumnElement[Any]:
    """The value at `path` in a JSON column; one row for each item if it is a list, none if there is none."""
    keys = "".join(f'."{key}"' for key in path)
    return func.json_each(column, f"${keys}").table_valued("value", joins_implicitly=True).c.value


def _values(scope: base.FilterScope) -> Select:
    """The values that a record (of the statement around) has in `scope`, as a statement with one column."""
    if isinstance(scope, MetadataFilterScope):
        return select(_json_values(Record.metadata_, scope.metadata_property))
    if isinstance(scope, ResponseFilterScope):
        column = _json_values(Response.values, scope.question, "value") if scope.question else Response.status
        return select(column).where(_responses(scope.user))
    column = getattr(Suggestion, scope.property)
    values = select(_json_values(column) if scope.property in ("value", "score") else column)
    of_record = and_(Suggestion.record_id == Record.id, Question.name == scope.question)
    return values.join_from(Suggestion, Question).where(of_record)


def _responses(user: User | None) -> ColumnElement[bool]:
    return and_(Response.record_id == Record.id, Response.user_id == user.id if user else true())


def _instant(value: float | str | None) -> datetime | None:
    """A point in time, ISO 8601 or milliseconds since 1970, as Argilla stores it: in UTC, without a time zone."""
    if value is None:
        return None
    moment = datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, float) else datetime.fromisoformat(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _satisfies(filter: base.TermsFilter | base.RangeFilter, value: ColumnElement[Any]) -> ColumnElement[bool]:
    if isinstance(filter, base.TermsFilter):
        texts = [str(term) for term in filter.values]
        if filter.scope == RecordFilterScope("id"):
            texts = [text.replace("-", "").lower() for text in texts]  # as the database has them
        return cast(value, String).in_(texts)
    low: Any = filter.ge
    high: Any = filter.le
    if isinstance(filter.scope, RecordFilterScope):
        low, high = _instant(low), _instant(high)
    return and_(value >= low if low is not None else true(), value <= high if high is not None else true())


def _condition(filter: base.Filter) -> ColumnElement[bool]:
    if isinstance(filter, base.AndFilter):
        return and_(true(), *map(_condition, filter.filters))
    scope = filter.scope
    if isinstance(scope, RecordFilterScope):
        return _satisfies(filter, getattr(Record, scope.property))
    values = _values(scope)
    passes = exists(values.where(_satisfies(filter, values.selected_columns[0])).correlate(Record))
    if isinstance(scope, ResponseFilterScope) and not scope.question and ResponseStatusFilter.pending in filter.values:
        # No response is what Argilla calls a pending one.
        return or_(and_(~exists().where(_responses(scope.user)), ~_OUTDATED), passes)
    return passes


def _order(order: base.Order) -> list[ColumnElement[Any]]:
    """Records without a value come last; of several values the mean counts (responses) or the outermost one."""
    ascending = order.order == SortOrder.asc
    if isinstance(order.scope, RecordFilterScope):
        keys: list[Any] = [getattr(Record, order.scope.property)]
    else:
        values = _values(order.scope)
        (column,) = values.selected_columns
        means = [func.avg(column)] if isinstance(order.scope, ResponseFilterScope) else []
        outermost = func.min(column) if ascending else func.max(column)
        keys = [values.with_only_columns(key).correlate(Record).scalar_subquery() for key in [*means, outermost]]
    return [(key.asc() if ascending else key.desc()).nulls_last() for key in keys]


async def _count(rows: Select) -> dict[str, int]:
    """How often each value of a statement with one column occurs, the most frequent first."""
    (value,) = rows.selected_columns
    count = func.count()
    async with AsyncSessionLocal() as db:
        counted = await db.execute(rows.add_columns(count).group_by(value).order_by(count.desc(), value))
        return {str(term): count for term, count in counted}


def _matching(dataset: Dataset, query: TextQuery | str | None, filter: base.Filter | None) -> Select:
    """The ids of the records of `dataset` that `query` and `filter` let through."""
    matching = select(Record.id).where(Record.dataset_id == dataset.id)
    if filter is not None:
        matching = matching.where(_condition(filter))
    text = TextQuery(q=query) if isinstance(query, str) else query
    if text is not None and text.q.strip():  # the expensive condition comes last
        matching = matching.where(func.text_matches(text.q, text.field or "", Record.fields))
    return matching


@base.SearchEngine.register("embedded")
class EmbeddedSearchEngine(base.SearchEngine):
    """What `argilla_server` asks of a search engine, answered by SQL. Nothing to index: the tables are the index."""

    @classmethod
    async def new_instance(cls) -> "EmbeddedSearchEngine":
        return cls()

    async def ping(self) -> bool:
        return True

    async def info(self) -> dict:
        return {"name": "embedded", "blind": True}  # what blind.py does; kto/vote/task.py asks for it

    async def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the record, response or suggestion is in the database already."""

    close = create_index = delete_index = index_records = delete_records = partial_record_update = _nothing
    configure_metadata_property = configure_index_vectors = _nothing
    update_record_response = delete_record_response = update_record_suggestion = delete_record_suggestion = _nothing

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: base.Filter | None = None,
        sort: list[base.Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | str | None = None,
    ) -> base.SearchResponses:
        """Return one page of the records that match, and their total number.

        Without `sort` each user gets an order of their own that stays the same, so that votes spread over the records,
        and answers to one prompt do not follow each other.
        """
        matching = _matching(dataset, query, filter)
        order = [key for item in sort or () for key in _order(item)]
        if user_id and not order:
            prompt = func.coalesce(func.json_extract(Record.metadata_, "$.prompt_id"), Record.id)
            mixed = func.shuffle(str(user_id), Record.id)
            # Of all records, not of those that are left: else a second answer would move up to where the first was.
            turn = func.row_number().over(partition_by=prompt, order_by=mixed).label("turn")
            turns = select(Record.id.label("record"), turn).where(Record.dataset_id == dataset.id).subquery()
            matching = matching.join(turns, turns.c.record == Record.id)
            order = [turns.c.turn, func.shuffle(str(user_id), cast(prompt, String))]
        # Each row also has the total, so that an expensive text query runs once.
        page = matching.add_columns(func.count().over()).order_by(*order, Record.inserted_at, Record.id)
        async with AsyncSessionLocal() as db:
            rows = (await db.execute(page.offset(offset).limit(limit))).all()
            total = rows[0][1] if rows else 0
            if offset and not rows:
                total = await db.scalar(select(func.count()).select_from(matching.subquery()))
        return base.SearchResponses(items=[base.SearchResponseItem(record_id=id) for id, _ in rows], total=total)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: models.VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: base.Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> base.SearchResponses:
        """Return the records nearest to `value`, or to `record`, which is not among them; every vector is compared."""
        wanted = value or (record and record.vector_value_by_vector_settings(vector_settings))
        if not wanted:
            raise ValueError("a value or a record with a vector is needed")
        sign = -1 if order == SimilarityOrder.least_similar else 1
        score = func.similarity(json.dumps([sign * number for number in wanted]), Vector.value).label("score")
        nearest = (
            _matching(dataset, query, filter)
            .add_columns(score)
            .join(Vector, Vector.record_id == Record.id)
            .where(Vector.vector_settings_id == vector_settings.id, Record.id != record.id if record else true())
            .where(score >= threshold if threshold is not None else true())
            .order_by(score.desc(), Record.id)
            .limit(max_results)
        )
        async with AsyncSessionLocal() as db:
            items = [base.SearchResponseItem(record_id=id, score=score) for id, score in await db.execute(nearest)]
        return base.SearchResponses(items=items, total=len(items))

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> base.MetadataMetrics:
        """Return how often each term occurs, or the smallest and the largest number."""
        value = _json_values(Record.metadata_, metadata_property.name)
        of_dataset = Record.dataset_id == metadata_property.dataset_id
        rows = select(value).select_from(Record).where(of_dataset, value.is_not(None))
        if metadata_property.type == MetadataPropertyType.terms:
            counts = await _count(rows)
            terms = [base.TermsMetrics.TermCount(term=term, count=count) for term, count in counts.items()]
            return base.TermsMetrics(total=sum(counts.values()), values=terms)
        async with AsyncSessionLocal() as db:
            low, high = (await db.execute(rows.with_only_columns(func.min(value), func.max(value)))).one()
        integer = metadata_property.type == MetadataPropertyType.integer
        return (base.IntegerMetadataMetrics if integer else base.FloatMetadataMetrics)(min=low, max=high)

    async def get_dataset_progress(self, dataset: Dataset) -> dict:
        """Return the number of records, in all and by status.

        An outdated record is complete; without any response it does not count, because nobody will be asked.
        """
        status = case((_OUTDATED, "completed"), else_=cast(Record.status, String))
        counted = or_(~_OUTDATED, exists().where(_responses(None)))
        counts = await _count(select(status).where(Record.dataset_id == dataset.id, counted))
        return {"total": sum(counts.values()), **counts}

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict:
        """Return the number of responses of `user`, in all and by status."""
        responses = select(cast(Response.status, String)).join(Record)
        counts = await _count(responses.where(Record.dataset_id == dataset.id, Response.user_id == user.id))
        return {"total": sum(counts.values()), **counts}
