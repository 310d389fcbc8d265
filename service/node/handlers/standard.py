"""The message types of the protocol."""

from lastseen.commands import TO_RUNNING_TASKS

from service.domain import requests
from service.domain.command_requests import parser
from service.node.handlers import Handler, Handlers, commands
from service.node.handlers.heartbeat import ack, ping, ping_at_once, pong, pong_at_once
from service.node.handlers.identity import authenticate
from service.node.handlers.presence import presence
from service.node.handlers.subscribing import subscribe, subscribe_at_once, unsubscribe, unsubscribe_at_once


def standard_handlers() -> Handlers:
    """A registry that acts on every type of the protocol; a deployment adds its own to it."""
    return Handlers(
        {
            "ping": Handler(requests.parse_ping, ping, ping_at_once),
            "pong": Handler(requests.parse_pong, pong, pong_at_once),
            "subscribe": Handler(requests.parse_subscribe, subscribe, subscribe_at_once),
            "unsubscribe": Handler(requests.parse_unsubscribe, unsubscribe, unsubscribe_at_once),
            "ack": Handler(requests.parse_ack, ack),
            "presence": Handler(requests.parse_presence, presence),
            "authenticate": Handler(requests.parse_authenticate, authenticate),
            **{command.value: Handler(parser(command), commands.act) for command in TO_RUNNING_TASKS},
        }
    )
