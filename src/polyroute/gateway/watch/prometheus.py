"""``GET /metrics``: the numbers of a server in the form that Prometheus reads.

The one decision here: they are made of the tally when somebody asks. Labels are ids of cards, names
of policies and kinds of failures; nothing that a client sends is one.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from polyroute import __version__
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.watch.instances import Judged
from polyroute.gateway.watch.tally import Histogram, Tally
from polyroute.protocols import Backend

__all__ = ["Metrics"]


class Metrics(Collector):
    """Writes the metrics of one server.

    Parameters
    ----------
    tally : Tally
        What has happened.
    keeper : Keeper
        Knows what waits to be recorded, and what was lost.
    backends : mapping of str to Backend, optional
        By card id; those that judge their instances say how these are.
    """

    def __init__(
        self, tally: Tally, keeper: Keeper, backends: Mapping[str, Backend] | None = None
    ) -> None:
        self._tally = tally
        self._keeper = keeper
        self._backends = backends or {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a form that `accept`, the header of a scrape, names; its type."""
        encode, media = choose_encoder(accept)
        return encode(self._registry), media

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known when they are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield everything there is to say."""
        yield from self._of_the_server()
        yield from self._of_policies()
        yield from self._of_cards()
        yield from self._of_failures_and_tokens()
        yield from self._of_instances()

    def _of_the_server(self) -> Iterator[Metric]:
        tally, keeper = self._tally, self._keeper
        info = GaugeMetricFamily("polyroute_build", "Version of the server.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        for name, help, value in (
            ("polyroute_requests_running", "Requests being answered.", tally.running),
            ("polyroute_records_waiting", "Records that wait to be written.", keeper.waiting),
            (
                "polyroute_routing_entropy",
                "Entropy of the newest calls over the cards: 0 is one card only, 1 is all alike.",
                tally.share.entropy,
            ),
        ):
            yield GaugeMetricFamily(name, help, value)
        yield CounterMetricFamily("polyroute_records_lost", "Records not kept.", keeper.lost)
        refused = CounterMetricFamily(
            "polyroute_refused", "Requests that were not let in, by status.", labels=["status"]
        )
        for status, count in tally.refused.items():
            refused.add_metric([str(status)], count)
        yield refused

    def _of_policies(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "polyroute_requests", "Requests, by how they ended.", labels=["policy", "ending"]
        )
        usd = CounterMetricFamily("polyroute_usd", "US dollars spent.", labels=["policy"])
        hits = CounterMetricFamily(
            "polyroute_cache_hits", "Answers that were remembered.", labels=["policy"]
        )
        saved = CounterMetricFamily(
            "polyroute_cache_saved_usd", "What remembered answers had cost.", labels=["policy"]
        )
        fell = CounterMetricFamily(
            "polyroute_fallbacks", "Requests whose policy broke.", labels=["policy"]
        )
        seconds = HistogramMetricFamily(
            "polyroute_request_seconds", "From letting in to the end.", labels=["policy"]
        )
        rounds = HistogramMetricFamily(
            "polyroute_rounds", "Rounds of an episode.", labels=["policy"]
        )
        for name, of in self._tally.policies.items():
            for ending in ("answered", "failed", "cancelled"):
                requests.add_metric([name, ending], of.endings[ending])
            usd.add_metric([name], float(of.usd))
            hits.add_metric([name], of.remembered)
            saved.add_metric([name], float(of.saved))
            fell.add_metric([name], of.fell_back)
            _add(seconds, [name], of.seconds)
            _add(rounds, [name], of.rounds)
        yield from (requests, usd, hits, saved, fell, seconds, rounds)

    def _of_cards(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "polyroute_calls", "Calls that were made.", labels=["card", "own"]
        )
        usd = CounterMetricFamily("polyroute_card_usd", "US dollars spent.", labels=["card"])
        unknown = CounterMetricFamily(
            "polyroute_unknown_prices", "Replies whose price nobody knows.", labels=["card"]
        )
        share = GaugeMetricFamily(
            "polyroute_routing_share", "Share of the newest calls of policies.", labels=["card"]
        )
        seconds = HistogramMetricFamily(
            "polyroute_call_seconds", "Seconds of a call.", labels=["card"]
        )
        first = HistogramMetricFamily(
            "polyroute_first_token_seconds", "Seconds to the first text.", labels=["card"]
        )
        for name, of in self._tally.cards.items():
            calls.add_metric([name, "false"], of.calls)
            calls.add_metric([name, "true"], of.own)
            usd.add_metric([name], float(of.usd))
            unknown.add_metric([name], of.unknown)
            share.add_metric([name], self._tally.share.of(name))
            _add(seconds, [name], of.seconds)
            _add(first, [name], of.first_token)
        yield from (calls, usd, unknown, share, seconds, first)

    def _of_failures_and_tokens(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "polyroute_failures",
            "Calls without a reply; budget: not made.",
            labels=["card", "kind"],
        )
        tokens = CounterMetricFamily("polyroute_tokens", "Tokens.", labels=["card", "kind"])
        for name, of in self._tally.cards.items():
            for kind, count in of.failures.items():
                failures.add_metric([name, kind], count)
            for kind in ("input", "output", "cached", "reasoning"):
                tokens.add_metric([name, kind], getattr(of, kind))
        yield from (failures, tokens)

    def _of_instances(self) -> Iterator[Metric]:
        labels = ["card", "instance"]
        fit = GaugeMetricFamily(
            "polyroute_instance_fit", "1: it is asked; 0: it is out, or on trial.", labels=labels
        )
        running = GaugeMetricFamily(
            "polyroute_instance_running", "Calls that it is carrying out.", labels=labels
        )
        for card, backend in self._backends.items():
            for one in backend.snapshot() if isinstance(backend, Judged) else ():
                fit.add_metric([card, one.label], one.state == "closed")
                running.add_metric([card, one.label], one.outstanding)
        yield from (fit, running)


def _add(family: HistogramMetricFamily, labels: list[str], counted: Histogram) -> None:
    family.add_metric(labels, counted.cumulative(), counted.sum)
