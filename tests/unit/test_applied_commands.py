"""The memory of a task's commands."""

from lastseen.commands import CommandName

from service.domain.commands import State
from service.running.applied import AppliedCommands
from tests.told import command_of


def test_a_command_is_its_user_s_id_and_what_it_says() -> None:
    applied = AppliedCommands()
    first = command_of(CommandName.INPUT, id="1", user="a", input="x")
    assert applied.find(first) is None
    known = applied.begin(first)
    assert applied.find(command_of(CommandName.INPUT, id="1", user="a", input="x", node="other")) is known
    assert applied.is_same(known, first)
    assert not applied.is_same(known, command_of(CommandName.INPUT, id="1", user="a", input="y"))
    assert not applied.is_same(known, command_of(CommandName.CANCEL, id="1", user="a"))
    assert applied.find(command_of(CommandName.INPUT, id="1", user="b", input="x")) is None
    assert applied.find(command_of(CommandName.INPUT, id="2", user="a", input="x")) is None


def test_it_forgets_the_oldest_that_is_settled() -> None:
    applied = AppliedCommands(remembered=3)
    commands = [command_of(CommandName.INPUT, input="x") for _ in range(5)]
    for number, command in enumerate(commands):
        known = applied.begin(command)
        if number != 0:
            known.state = State.APPLIED
    assert [applied.find(command) is not None for command in commands] == [True, False, False, True, True]
