"""A runner that is nobody's of ours: it reads the topic of commands and reports over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from lastseen.commands import Command, CommandName, decode
from lastseen.task_start import TaskStart

from service.adapters.kafka.instance_topics import COMMAND_PARTITIONS
from tests.nodes import Ground, Message, NodeProcess

HELD_ELSEWHERE = "here-"
"""How the tasks are called that it leaves to others."""


@dataclass
class Runner:
    """Applies commands once, and says so through `node`; what it does is told by their text.

    Of a start by its program: `silence` is not taken, `refused` refused; of any other the task is begun.
    """

    node: NodeProcess
    read: list[Command] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    started: dict[str, Command] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    """Tasks of which all has been said that is said at a start."""
    _said: dict[tuple[str, str, str], Message] = field(default_factory=dict)
    _content: dict[tuple[str, str, str], object] = field(default_factory=dict)
    works: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled."""
        self.works.set()
        async for record in consumer:
            command = decode(record.value, record.headers)
            if command.task_id.startswith(HELD_ELSEWHERE):
                continue
            self.read.append(command)
            await self.works.wait()
            if command.command is CommandName.START:
                await self._start(command)
                continue
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

    async def _start(self, command: Command) -> None:
        program = TaskStart.model_validate(command.data).command[0]
        if program == "silence" or command.deadline < datetime.now(UTC):
            return
        began = self.started.setdefault(command.task_id, command)
        if (began.user_id, began.id) != (command.user_id, command.id):
            await self.report(command, state="rejected", reason="id_in_use")
        elif began is not command:
            await self.report(command, **self._said_of_start(program))
        else:
            task = {"task_id": command.task_id, "project_id": command.project_id, "user_id": command.user_id}
            told = {name: command.data[name] for name in ("command", "cwd", "adapter", "pty", "columns", "rows")}
            await self.node.publish({"type": "task_started", **task, "data": told})
            await self.report(command, **self._said_of_start(program))
            if program == "refused":
                await self.node.publish({"type": "task_failed", **task, "data": {"reason": "not_allowed"}})
            else:
                running = {"status": "running", "previous": "pending"}
                await self.node.publish({"type": "task_status_change", **task, "data": running})
            self.begun.add(command.task_id)

    @staticmethod
    def _said_of_start(program: str) -> Message:
        return {"state": "rejected", "reason": "not_allowed"} if program == "refused" else {"state": "applied"}

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
