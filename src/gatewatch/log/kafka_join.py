"""Joins of kafka-python that are lost on their way, and what its group has shared out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.errors import CoordinatorNotAvailableError, KafkaError
from kafka.protocol.admin import DescribeGroupsRequest
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from gatewatch.log.base import TopicPartition

_AT_REST = "Stable"  # Kafka's name of the state in which everybody knows what is his


def keep_join(coordinator: Any) -> None:
    """To be called before a poll: a join that was over between two polls counts.

    Left alone the client begins another one in its place; a leader's has the whole group begin anew, and may be over
    between two polls again. Or it waits for ever: where it joined because the topics changed, it forgets why as soon as
    it has shared them out.
    """
    join = coordinator._join_task  # noqa: SLF001 - the client has no seam for joins
    if join is None:
        return
    coordinator.request_rejoin()
    if not isinstance(join, _Kept):
        coordinator._join_task = _Kept(join)  # noqa: SLF001 - as above


class _Kept:
    """A join that the client takes for one under way until it has its result; one that failed is made anew."""

    def __init__(self, join: Any) -> None:
        self._join = join

    @property
    def is_done(self) -> bool:
        return bool(self._join.failed())

    def add_callback(self, call: Callable[[Any], None]) -> None:
        self._join.add_callback(call)

    def add_errback(self, call: Callable[[BaseException], None]) -> None:
        self._join.add_errback(call)

    def __await__(self) -> Any:
        return self._join.__await__()


def shared_out(coordinator: Any, group: str, timeout_s: float) -> set[TopicPartition] | None:
    """What all members of a group have together; ``None`` where that is about to change, or no broker answers."""
    try:
        found = coordinator._net.run(_describe, coordinator, group, timeout_s * 1000)  # noqa: SLF001 - as above
    except KafkaError:
        return None
    if found.error_code or found.group_state != _AT_REST:
        return None
    members = (m.member_assignment for m in found.members)
    decoded = (ConsumerProtocolAssignment.decode(assignment) for assignment in members if assignment)
    return {TopicPartition(*tp) for assignment in decoded for tp in assignment.partitions()}


async def _describe(coordinator: Any, group: str, timeout_ms: float) -> Any:
    manager, node = coordinator._manager, coordinator.coordinator()  # noqa: SLF001 - as above
    if node is None:
        raise CoordinatorNotAvailableError
    answer = await manager.wait_for(manager.send(DescribeGroupsRequest(groups=[group]), node_id=node), timeout_ms)
    return answer.groups[0]
