"""Administration of quotas."""

from typing import Literal

import msgspec

from raftlog.base.errors import BadRequest
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.wire.frame import Method
from raftlog.wire.schema import quotas

PAGE: int = 500


class QuotaInfo(msgspec.Struct, frozen=True, gc=False):
    """How much a client may send, or a topic is sent, a second; None: no bound.

    Attributes:
        kind: "client" or "topic".
        name: A client's id, "*" for each client that has no quota of its own, or a topic.
        bytes_per_s: Bytes of batches.
        records_per_s: Records.
        refused: Batches that it was the reason to refuse, since this leader runs.
    """

    kind: Literal["client", "topic"]
    name: str
    bytes_per_s: int | None
    records_per_s: int | None
    refused: int = 0


class Quotas:
    """The quotas of a cluster: ``client.quotas``.

    Names are given as ``client=`` (a client's id; "*": each that has no quota of its own) or
    ``topic=``. Every method raises ``Unavailable`` when there is no leader within its timeout
    (seconds; without it, the client's). Asking again is harmless.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def set(
        self,
        *,
        client: str | None = None,
        topic: str | None = None,
        bytes_per_s: int | None = None,
        records_per_s: int | None = None,
        timeout: Duration | None = None,
    ) -> QuotaInfo:
        """Bound what a client sends, or a topic is sent, on each second's average.

        A quota that is there is replaced as a whole.

        Raises:
            BadRequest: Nothing is bounded, or neither a client nor a topic is named, or both.
            BadName: Nobody can have that name.
            TopicNotFound: There is no such topic.
        """
        kind, name = _named(client, topic)
        message = quotas.SetQuota(
            kind=kind, name=name, bytes_per_s=bytes_per_s or 0, records_per_s=records_per_s or 0
        )
        answer, _ = await self._asker.ask(
            *(Method.QUOTA_SET, message, quotas.Quota), timeout_s=_budget(timeout), repeats=True
        )
        return _info(answer)

    async def remove(
        self,
        *,
        client: str | None = None,
        topic: str | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """Take a quota away; harmless if there is none.

        Raises:
            BadRequest: Neither a client nor a topic is named, or both.
        """
        kind, name = _named(client, topic)
        await self._asker.ask(
            *(Method.QUOTA_REMOVE, quotas.RemoveQuota(kind=kind, name=name), quotas.QuotaRemoved),
            timeout_s=_budget(timeout),
            repeats=True,
        )

    async def list(self, *, timeout: Duration | None = None) -> list[QuotaInfo]:
        """Return all quotas, those of clients first, by name."""
        found: list[QuotaInfo] = []
        while True:
            last = found[-1] if found else None
            message = quotas.ListQuotas(
                after_kind=last.kind if last else "",
                after_name=last.name if last else "",
                count_max=PAGE,
            )
            answer, _ = await self._asker.ask(
                *(Method.QUOTA_LIST, message, quotas.QuotasListed), timeout_s=_budget(timeout)
            )
            found.extend(map(_info, answer.quotas))
            if not answer.more or not answer.quotas:
                return found


def _named(client: str | None, topic: str | None) -> tuple[str, str]:
    if client is not None and topic is None:
        return "client", client
    if topic is not None and client is None:
        return "topic", topic
    raise BadRequest("a quota is a client's or a topic's: name one of them")


def _info(row: quotas.Quota) -> QuotaInfo:
    kind: Literal["client", "topic"] = "topic" if row.kind == "topic" else "client"
    return QuotaInfo(
        kind, row.name, row.bytes_per_s or None, row.records_per_s or None, row.refused
    )


def _budget(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout)
