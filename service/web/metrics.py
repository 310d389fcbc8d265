"""`GET /metrics`: what this node does, for Prometheus."""

from collections.abc import Iterator
from itertools import accumulate

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.gc_pauses import BOUNDS, GcPauses
from service.node.node import Node
from service.web.documented import documented

router = APIRouter()


class NodeMetrics:
    """A collector: everything is counted in the node anyway, and read when asked for."""

    def __init__(self, node: Node, pauses: GcPauses | None = None) -> None:
        self._node = node
        self._pauses = pauses

    def collect(self) -> Iterator[Metric]:
        """The families of now."""
        node = self._node
        services = node.services
        yield _gauge("connections", "Clients that are connected", len(services.connections))
        yield _gauge("event_streams", "Readers of Server-Sent Events", len(node.streams))
        yield _gauge("users", "Users that are connected", len(services.connections.users))
        yield _gauge("channels", "Channels that somebody has subscribed to", len(services.connections.channels))
        waiting = sum(connection.buffered for connection in services.connections)
        yield _gauge("buffered_bytes", "Bytes written to clients that they have not taken yet", waiting)
        yield _gauge("catch_ups", "Subscriptions that are catching up together", node.puller.running)
        yield _gauge("window_bytes", "Memory of the newest records", services.window.bytes)
        yield _counter("appended_events", "Events that this node has appended", node.publisher.appended)
        counts = node.tail.counts
        yield _counter("read_records", "Records read from the log and delivered", counts.delivered)
        yield _counter("void_records", "Duplicates and fenced records passed over", counts.void)
        yield _counter("unreadable_records", "Records that no reader can use, passed over", counts.unreadable)
        yield _counter("stray_records", "Records of another project than their task's", services.rights.rights.strays)
        epoch = GaugeMetricFamily("lastseen_epoch", "The epoch that is served, by its number", labels=["name"])
        epoch.add_metric([node.epoch.name], node.epoch.number)
        yield epoch
        lost = node.epoch.loss
        yield _gauge("lost_offsets", "Offsets that Kafka had lost when the epoch began", lost.offsets if lost else 0)
        head = GaugeMetricFamily("lastseen_next_offset", "The offset that the tail reads next", labels=["partition"])
        for partition in services.window.partitions:
            head.add_metric([str(partition)], services.window.next(partition))
        yield head
        if self._pauses is not None:
            yield _histogram_of(self._pauses)
            text = "The longest time that looking for garbage has stopped this process since it serves"
            yield GaugeMetricFamily("lastseen_gc_longest_pause_seconds", text, self._pauses.longest)


def registry_of(node: Node, pauses: GcPauses | None = None) -> CollectorRegistry:
    """What is shown: the node, its process and its Python; what looking for garbage took, where that is noted."""
    registry = CollectorRegistry()
    registry.register(NodeMetrics(node, pauses))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@router.get(
    "/metrics",
    summary="What this node does, for Prometheus",
    response_class=Response,
    **documented(
        is_open=True,
        description="In the text format of Prometheus",
        also={"text/plain": {"schema": {"type": "string"}, "example": "lastseen_connections 3.0\n"}},
    ),
)
async def metrics(request: Request) -> Response:
    """Counters and gauges of this node; how far the consumers are behind, `lastseen lag` says."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _histogram_of(pauses: GcPauses) -> Metric:
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(pauses.counts)), strict=True))
    text = "How long looking for garbage has stopped this process, each time"
    return HistogramMetricFamily("lastseen_gc_pause_seconds", text, buckets=buckets, sum_value=pauses.seconds)


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(f"lastseen_{name}", text, value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"lastseen_{name}", text, value)
