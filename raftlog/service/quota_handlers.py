"""Requests of ``quotas.proto``."""

from typing import cast

from raftlog.broker.quotas import Kind, Quota, QuotaRemoved
from raftlog.service.answers import answer_with, that_fit
from raftlog.service.ports import ClientRequest
from raftlog.service.quotas import Page, QuotaService
from raftlog.wire.schema import quotas


def set_(service: QuotaService, request: ClientRequest) -> None:
    """Bound what a client sends, or a topic takes."""
    message = cast("quotas.SetQuota", request.message)
    rates = (message.bytes_per_s, message.records_per_s)
    kind = cast("Kind", message.kind)  # another one is refused where the command is made
    service.set(kind, message.name, rates, answer_with(request, _row))


def remove(service: QuotaService, request: ClientRequest) -> None:
    """Take a quota away."""

    def removed(_outcome: QuotaRemoved) -> quotas.QuotaRemoved:
        return quotas.QuotaRemoved()

    message = cast("quotas.RemoveQuota", request.message)
    kind = cast("Kind", message.kind)
    service.remove(kind, message.name, answer_with(request, removed))


def list_(service: QuotaService, request: ClientRequest) -> None:
    """Tell the next quotas."""
    message = cast("quotas.ListQuotas", request.message)
    after = (message.after_kind, message.after_name)
    service.list(after, message.count_max, answer_with(request, _listed))


def _row(quota: Quota, refused: int = 0) -> quotas.Quota:
    return quotas.Quota(
        kind=quota.kind,
        name=quota.name,
        bytes_per_s=quota.bytes_per_s,
        records_per_s=quota.records_per_s,
        refused=refused,
    )


def _listed(page: Page) -> quotas.QuotasListed:
    rows, cut = that_fit(_row(quota, refused) for quota, refused in page.quotas)
    return quotas.QuotasListed(quotas=rows, more=page.more or cut)
