"""The message types of the protocol."""

from lastseen.commands import TO_RUNNING_TASKS

from service.domain import requests
from service.domain.command_requests import parser
from service.node.handlers import Handler, Handlers, commands
from service.node.handlers.heartbeat import ack, ping, pong
from service.node.handlers.identity import authenticate
from service.node.handlers.presence import presence
from service.node.handlers.subscribing import subscribe, unsubscribe


def standard_handlers() -> Handlers:
    """A registry that acts on every type of the protocol; a deployment adds its own to it."""
    return Handlers(
        {
            "ping": Handler(requests.parse_ping, ping),
            "pong": Handler(requests.parse_pong, pong),
            "subscribe": Handler(requests.parse_subscribe, subscribe),
            "unsubscribe": Handler(requests.parse_unsubscribe, unsubscribe),
            "ack": Handler(requests.parse_ack, ack),
            "presence": Handler(requests.parse_presence, presence),
            "authenticate": Handler(requests.parse_authenticate, authenticate),
            **{command.value: Handler(parser(command), commands.act) for command in TO_RUNNING_TASKS},
        }
    )
