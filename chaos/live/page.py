"""The report: one HTML file that needs nothing else, of one run or of several in a row."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from chaos.check.client_history import Anomaly, Event
from chaos.check.leaderless_time import told
from chaos.live.faults import FAULTS, MISSING, SHIM
from chaos.live.picture import picture
from chaos.live.slow_followers import BAR, SendTimes, lines
from chaos.live.totals import BARS, LEADERLESS_BARS, POWER, happened, tried
from chaos.live.verdict import Plan, Series, Verdict

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1140px;margin:2em auto;padding:0 1em;color:#111}
h1{font-size:1.5em;margin-bottom:.2em} h2{font-size:1.1em;margin-top:1.6em}
table{border-collapse:collapse} td,th{padding:.15em .9em .15em 0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums} code{background:#f3f4f6;padding:.2em .4em}
.good{color:#15803d} .bad{color:#b91c1c} pre{background:#f3f4f6;padding:.6em;overflow:auto}
svg text{font:11px system-ui,sans-serif;fill:#374151} .key span{margin-right:1.2em}
details{margin:.3em 0} summary{cursor:pointer}
"""


def page(verdict: Verdict) -> str:
    """Return the whole document of one run."""
    title = f"Chaos run {verdict.plan.name}, seed {verdict.plan.seed}"
    parts = [
        *_head(title, verdict.anomalies, is_interrupted=verdict.is_interrupted),
        f"<p>{verdict.plan.nodes} nodes, {verdict.seconds:.0f} s, {_commit(verdict.plan)}. ",
        f"Again: <code>{escape(verdict.plan.line)}</code>",
        *_run(verdict),
    ]
    return "\n".join(parts) + "\n"


def series_page(series: Series) -> str:
    """Return the whole document of several runs: what they come to, then each."""
    plan = series.plans[0]
    made, due = len(series.verdicts), len(series.plans)
    title = f"Chaos runs {plan.name}, {due} schedules from seed {plan.seed}"
    parts = [
        *_head(title, series.anomalies, is_interrupted=series.is_interrupted),
        f"<p>{plan.nodes} nodes, {made} of {due} schedules, {series.seconds:.0f} s, ",
        f"{_commit(plan)}. ",
        f"Again: <code>{escape(series.line)}</code>",
        "<h2>In all</h2>",
        *_totals(series.counts, with_bars=series.is_held_to_bars),
        *_leaderless(series.leaderless_s, with_bars=series.is_held_to_bars),
        *_slow_followers(series.send_times),
        "<h2>Anomalies</h2>",
        *_anomalies(series.anomalies),
        "<h2>Faults</h2>",
        *_faults([event for each in series.verdicts for event in each.events], plan),
        "<h2>Schedules</h2>",
    ]
    for each in series.verdicts:
        good = "good" if not each.anomalies else "bad"
        line = f"seed {each.plan.seed}: {each.acked:,} acknowledged, {each.seconds:.0f} s, "
        parts.append(f"<details><summary class={good}>{line}{_word(each.anomalies)}</summary>")
        parts += [f"<p>Again: <code>{escape(each.plan.line)}</code>", *_run(each), "</details>"]
    return "\n".join(parts) + "\n"


def _head(title: str, anomalies: Sequence[Anomaly], *, is_interrupted: bool) -> Iterator[str]:
    good = not anomalies and not is_interrupted
    word = "interrupted: not all was compared" if is_interrupted else _word(anomalies)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
    yield f"<style>{_STYLE}</style><h1>{escape(title)}: "
    yield f"<span class={'good' if good else 'bad'}>{escape(word)}</span></h1>"


def _commit(plan: Plan) -> str:
    return escape(f"commit {plan.commit}" if plan.commit else "no commit was told")


def _word(anomalies: Sequence[Anomaly]) -> str:
    return f"{len(anomalies)} anomalies" if anomalies else "no anomaly"


def _run(verdict: Verdict) -> Iterator[str]:
    yield "<h2>Counts</h2>"
    yield from _totals(verdict.counts)
    yield from _leaderless(verdict.leaderless_s)
    yield from _slow_followers(verdict.send_times)
    yield from _counts(verdict)
    yield "<h2>What happened when</h2>"
    yield from picture(verdict)
    yield "<h2>Anomalies</h2>"
    yield from _anomalies(verdict.anomalies)
    if verdict.kept:
        yield f"<p>The cluster's files: <code>{escape(str(verdict.kept))}</code>"
    yield "<h2>Faults</h2>"
    yield from _faults(verdict.events, verdict.plan)
    yield "<details><summary>Each of them</summary><table>"
    for event in verdict.events:
        cells = (event.kind, event.target, _came_of(event), event.note)
        yield f"<tr><td class=n>{event.at:.2f} s<td class=n>{event.until - event.at:.2f} s"
        yield "".join(f"<td>{escape(cell)}" for cell in cells)
    yield "</table></details>"


def _came_of(event: Event) -> str:
    if not event.happened:
        return "did not happen"
    if event.leaderless_s is None:
        return ""
    return f"no leader for {event.leaderless_s:.2f} s{', beside another fault' * event.beside}"


def _totals(counts: Mapping[str, int], *, with_bars: bool = False) -> Iterator[str]:
    yield "<table>"
    for name, bar in BARS.items():
        count = counts.get(name, 0)
        due = f"<td>of at least {bar:,}" if with_bars else ""
        yield f"<tr><td>{escape(name)}<td class=n>{count:,}{due}"
    yield "</table>"


def _leaderless(times: Mapping[str, list[float]], *, with_bars: bool = False) -> Iterator[str]:
    yield "<table>"
    for kind, values in times.items():
        bars = LEADERLESS_BARS.get(kind) if with_bars else None
        due = f"<td>of at most {bars[0]:g} s and {bars[1]:g} s" if bars else ""
        yield f"<tr><td>no leader after a {kind}, {len(values)} times"
        yield f"<td class=n>{told(values) if values else ''}{due}"
    yield "</table>"


def _slow_followers(times: SendTimes) -> Iterator[str]:
    yield "<table>"
    for title, told_times in lines(times):
        yield f"<tr><td>{escape(title)}<td class=n>{escape(told_times)}"
        yield f"<td>of at most {BAR:g} times"
    yield "</table>"


def _counts(verdict: Verdict) -> Iterator[str]:
    compared = verdict.compared
    rows = {
        "records refused for good": verdict.refused,
        "records with receipts whose sender knows nothing": verdict.unknown,
        "records read back and compared": verdict.stored,
        "log entries alike on two nodes, at least": compared.entries,
        "index ranges alike on two nodes, at least": compared.ranges,
        "snapshots alike on two nodes, at least": compared.snapshots,
        "faults that happened": sum(event.happened for event in verdict.events),
        **verdict.done,
        **verdict.notes,
    }
    yield "<table>"
    for name, count in rows.items():
        yield f"<tr><td>{escape(name)}<td class=n>{count:,}"
    yield "</table>"
    yield "<table><tr><th>records of topic<th>acked<th>refused<th>unknown to their senders"
    for topic, each in verdict.told.items():
        cells = (each.acked, each.refused, each.unknown)
        yield f"<tr><td>{escape(topic)}{''.join(f'<td class=n>{cell:,}' for cell in cells)}"
    yield "</table>"


def _anomalies(anomalies: Sequence[Anomaly]) -> Iterator[str]:
    if not anomalies:
        yield "<p class=good>None."
    for anomaly in anomalies:
        yield f"<details open><summary class=bad>{escape(anomaly.check)}: {escape(anomaly.text)}"
        yield f"</summary><pre>{escape(chr(10).join(anomaly.evidence))}</pre></details>"


def _faults(events: Sequence[Event], plan: Plan) -> Iterator[str]:
    """Every kind there is: what did not happen is listed too, with 0 (ruling 28)."""
    begun = Counter(event.kind for event in events)
    came = Counter(event.kind for event in events if event.happened)
    yield "<table><tr><th>fault<th>what it is<th>tried<th>happened"
    for kind, fault in FAULTS.items():
        yield f"<tr><td>{kind}<td>{escape(fault.text)}<td class=n>{begun[kind]}"
        yield f"<td class=n>{came[kind]}<td>{'' if kind in plan.kinds else 'not planned'}"
    counts = [count(events, plan.nodes)[POWER] * plan.shim for count in (tried, happened)]
    yield f"<tr><td>{SHIM[0]}<td>{SHIM[1]}<td class=n>{counts[0]}<td class=n>{counts[1]}"
    yield f"<td>{'' if plan.shim else 'not planned: --shim'}"
    for kind, text in MISSING.items():
        yield f"<tr><td>{kind}<td>{escape(text)}<td class=n>0<td class=n>0<td>there is none"
    yield "</table>"
