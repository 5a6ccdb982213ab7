"""Lets Argilla ask for a third vote where two differ, as the voting page does, and for none on flagged answers.

Its own rule is one number for a whole dataset: raising that would bring back every record. So the record's status
follows our rule (`kto/vote/overlap.py`), and its page, which shows what is pending, needs no change.
"""

from typing import Any

from argilla_server.contexts import distribution
from argilla_server.enums import RecordStatus

from kto.vote.overlap import Overlap


def install(overlap: Overlap) -> None:
    """Replace Argilla's rule."""

    async def update(db: Any, record: Any) -> Any:
        rule = overlap._replace(votes=record.dataset.distribution["min_submitted"])
        submitted = [response.values or {} for response in record.responses_submitted]
        is_complete = rule.is_complete(record.external_id or record.id.hex, record.metadata_ or {}, submitted)
        record.status = RecordStatus.completed if is_complete else RecordStatus.pending
        return await record.save(db, autocommit=False)

    distribution._update_record_status_with_overlap_strategy = update
