"""Kafka's errors as the service's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from service.domain.errors import LogUnavailable, OffsetsGone


@contextmanager
def answering(whom: str) -> Iterator[None]:
    """Kafka's errors and timeouts in this block are raised as LogUnavailable."""
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise OffsetsGone(f"{whom} does not hold the offsets asked for: {error}") from error
    except KafkaError as error:
        raise LogUnavailable(f"{whom} is unavailable: {error!r}") from error
    except TimeoutError as error:
        raise LogUnavailable(f"{whom} does not answer in time") from error
    except OSError as error:
        raise LogUnavailable(f"{whom} can't be reached: {error}") from error
