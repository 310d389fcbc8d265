import pytest
from lastseen.errors import BadRequest, OtherProject
from lastseen.task_projects import TaskProjects


def test_a_project_that_was_said_is_filled_in() -> None:
    projects = TaskProjects()
    assert projects.settle("t", "p", starts=False) == "p"
    assert projects.settle("t", None, starts=False) == "p"
    assert projects.settle("t", None, starts=True) == "p"
    assert projects.settle("t", "p", starts=True) == "p"
    assert projects.settle("other", None, starts=False) is None


def test_another_project_is_refused_and_changes_nothing() -> None:
    projects = TaskProjects()
    projects.settle("t", "p", starts=True)
    with pytest.raises(OtherProject, match=r"task t belongs to project p, not to q.*give project_id='p'") as caught:
        projects.settle("t", "q", starts=False)
    assert (caught.value.task, caught.value.project, caught.value.field) == ("t", "p", "project_id")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, BadRequest)
    assert projects.settle("t", None, starts=False) == "p"


def test_a_task_that_starts_without_a_project_has_none() -> None:
    projects = TaskProjects()
    assert projects.settle("t", None, starts=True) is None
    assert projects.settle("t", None, starts=False) is None
    with pytest.raises(OtherProject, match=r"no project, not to p.*leave project_id out"):
        projects.settle("t", "p", starts=False)


def test_a_task_that_was_not_seen_to_start_may_have_one() -> None:
    projects = TaskProjects()
    assert projects.settle("t", None, starts=False) is None
    assert projects.settle("t", "p", starts=False) == "p"


def test_those_that_were_asked_for_last_are_remembered() -> None:
    projects = TaskProjects(limit=2)
    projects.settle("a", "p", starts=True)
    projects.settle("b", "p", starts=True)
    projects.settle("a", None, starts=False)
    projects.settle("c", "p", starts=True)
    assert projects.settle("a", None, starts=False) == "p"
    assert projects.settle("c", None, starts=False) == "p"
    assert projects.settle("b", None, starts=False) is None


def test_a_forked_child_remembers_too() -> None:
    projects = TaskProjects()
    projects.settle("t", "p", starts=True)
    projects._lock.acquire()  # what another thread of the parent held at the fork
    projects.forked()
    assert projects.settle("t", None, starts=False) == "p"
