"""A runner that is nobody's of ours: it reads the topic of commands and reports over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from lastseen.commands import Command, decode

from service.adapters.kafka.instance_topics import COMMAND_PARTITIONS
from tests.nodes import Ground, Message, NodeProcess


@dataclass
class Runner:
    """Applies commands of its tasks once, and says so through `node`; what it does is told by their text."""

    node: NodeProcess
    read: list[Command] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    _said: dict[tuple[str, str, str], Message] = field(default_factory=dict)
    _content: dict[tuple[str, str, str], object] = field(default_factory=dict)
    works: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled."""
        self.works.set()
        async for record in consumer:
            command = decode(record.value, record.headers)
            self.read.append(command)
            await self.works.wait()
            key = command.task_id, command.user_id, command.id
            content = command.command, command.data
            if self._content.setdefault(key, content) != content:
                await self.report(command, state="rejected", reason="id_in_use", node=command.node)
                continue
            if key not in self._said:
                state, reason = self._apply(command)
                if state == "silence":
                    continue
                self._said[key] = {"state": state, "reason": reason}
                await self.report(command, state="accepted")
            await self.report(command, **self._said[key])

    def _apply(self, command: Command) -> tuple[str, str | None]:
        text = str(command.data.get("input", ""))
        if command.deadline < datetime.now(UTC):
            return "expired", "deadline"
        if text in ("silence", "reject"):
            return {"silence": ("silence", None), "reject": ("rejected", "no_input")}[text]
        self.applied.append(f"{command.command} {text}".strip())
        return "applied", None

    async def report(self, command: Command, **data: object) -> None:
        """Publish a receipt."""
        receipt = {"command_id": command.id, "command": command.command, "by": command.user_id, **data}
        await self.node.publish(
            {"type": "task_command", "task_id": command.task_id, "project_id": command.project_id, "data": receipt}
        )


@asynccontextmanager
async def reading_commands(ground: Ground) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of all commands of a ground, from the first."""
    async with AIOKafkaConsumer(bootstrap_servers=ground.kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(f"{ground.topic}.commands", n) for n in range(COMMAND_PARTITIONS)])
        yield consumer
