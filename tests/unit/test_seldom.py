"""The Kafka client is kept from filling a disk while Kafka is away."""

import logging

from service.adapters.kafka.seldom import EVERY_SECONDS, Seldom


def record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file", 1, message, arguments, None)


def test_each_kind_of_message_passes_once_in_a_while() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    text = "no connection to node %s"
    assert [seldom.filter(record("aiokafka", text, node)) for node in (1, 2, 3)] == [True, False, False]
    assert seldom.filter(record("aiokafka", "something else")), "another kind"
    assert seldom.filter(record("aiokafka.consumer", text, 1)), "another part of it"
    now = EVERY_SECONDS
    later = record("aiokafka", text, 4)
    assert seldom.filter(later)
    assert later.getMessage() == "no connection to node 4 (and 2 more like it)"
    assert not seldom.filter(record("aiokafka", text, 5))


def test_our_own_messages_always_pass() -> None:
    seldom = Seldom(lambda: 0.0)
    assert all(seldom.filter(record(name, "the same")) for name in ["service", "aiokafkaesque", "consumers"] * 3)
