"""The life of a task, by `advance` alone: what each task event changes, in any order and repeated."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline import limits
from pipeline.events.names import ERRORS
from pipeline.events.task import TaskEvent, TaskKind
from pipeline.hub.tasks import NOTHING, Change, Policy, Task, advance
from pipeline.settings import TaskError

POLICY = Policy(lapse_seconds=100, retries=2, backoff_seconds=(0, 50), offer_seconds=1000)
EVENT = msgspec.Raw(b"{}")


class Flight:
    """The tasks in flight, kept as table `in_flight` keeps them, and what was caused so far."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.tasks: dict[str, Task] = {}
        self.offers: list[Task] = []
        self.lost: list[Task] = []
        self.offset = 0

    def find(self, dequeued: str) -> Task | None:
        return next((t for t in self.tasks.values() if dequeued in (t.dequeued, *t.earlier)), None)

    def of_key(self, task: str, consumer_key: str) -> Task | None:
        entries = [t for t in self.tasks.values() if (t.task, t.consumer_key) == (task, consumer_key)]
        assert len(entries) <= 1, "two entries for one task"
        return next(iter(entries), None)

    def apply(self, event: TaskEvent, offset: int | None = None) -> Change:
        self.offset += 1
        change = advance(self, event, self.policy, offset=self.offset if offset is None else offset)
        if change.remove is not None:
            self.tasks.pop(change.remove, None)
        if change.put is not None:
            self.tasks[change.put.dequeued] = change.put
        if change.offer is not None:
            self.offers.append(change.offer)
        if change.lost is not None:
            self.lost.append(change.lost)
        return change


def taken(dequeued: str, at: float, *, attempt: int = 0, previous: str | None = None) -> TaskEvent:
    return TaskEvent(
        kind="dequeued",
        dequeued=dequeued,
        task="t",
        timestamp=at,
        plugin="p",
        version="1",
        attempt=attempt,
        previous=previous,
        event=EVENT,
    )


def about(kind: TaskKind, dequeued: str, at: float, *, deadline: float | None = None) -> TaskEvent:
    return TaskEvent(kind=kind, dequeued=dequeued, task="t", timestamp=at, deadline=deadline)


def ended(flight: Flight, dequeued: str, status: str, at: float) -> Change:
    return flight.apply(
        TaskEvent(kind="finished", dequeued=dequeued, task="t", timestamp=at, status=status)
    )


def lapse(flight: Flight, dequeued: str, at: float) -> Change:
    return flight.apply(about("lapsed", dequeued, at, deadline=at))


def test_a_task_that_is_not_finished_goes_back_to_its_plugin_and_is_parked_after_the_last_try() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    lapse(flight, "t.1", 100)
    assert [(o.dequeued, o.plugin, o.attempt) for o in flight.offers] == [("t.1", "p", 0)]

    flight.apply(taken("t.2", 110, attempt=1, previous="t.1"))
    assert list(flight.tasks) == ["t.2"]
    lapse(flight, "t.2", 210)
    assert flight.tasks["t.2"].state == "waiting", "the second retry is spaced by its back-off"
    assert flight.tasks["t.2"].due == 260
    lapse(flight, "t.2", 260)
    assert len(flight.offers) == 2

    flight.apply(taken("t.3", 300, attempt=2, previous="t.2"))
    change = lapse(flight, "t.3", 400)
    assert change.lost is not None
    assert change.reason == "lost 3 times"
    assert not flight.tasks


def test_a_heartbeat_puts_the_deadline_off() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    flight.apply(about("heartbeat", "t.1", 90))
    assert lapse(flight, "t.1", 100) == NOTHING
    assert lapse(flight, "t.1", 190).offer is not None


def test_a_late_final_status_of_an_older_try_ends_the_task() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    lapse(flight, "t.1", 100)
    flight.apply(taken("t.2", 110, attempt=1, previous="t.1"))
    flight.apply(about("finished", "t.1", 120))
    assert not flight.tasks
    assert lapse(flight, "t.2", 500) == NOTHING


def test_finishing_an_unknown_task_is_harmless() -> None:
    assert Flight().apply(about("finished", "nobody.1", 1)) == NOTHING


def test_a_lapse_noticed_twice_offers_once() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    lapse(flight, "t.1", 100)
    lapse(flight, "t.1", 100)
    assert len(flight.offers) == 1


def test_a_held_task_does_not_lapse_until_it_is_released() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    flight.apply(about("hold", "t.1", 10))
    assert lapse(flight, "t.1", 1000) == NOTHING
    flight.apply(about("release", "t.1", 2000))
    assert lapse(flight, "t.1", 2000).offer is not None


def test_hurry_ends_a_wait_and_never_takes_a_task_from_the_plugin_that_has_it() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0, attempt=1))
    assert flight.apply(about("hurry", "t.1", 10)) == NOTHING, "its plugin is at work"
    lapse(flight, "t.1", 100)
    assert flight.tasks["t.1"].state == "waiting"
    change = flight.apply(about("hurry", "t.1", 110))
    assert (change.offer, change.counted) == (flight.tasks["t.1"], ("released", "retried"))
    assert (flight.tasks["t.1"].state, flight.tasks["t.1"].due) == ("offered", 1110)
    assert flight.apply(about("hurry", "t.1", 120)) == NOTHING, "it is offered already"
    assert lapse(flight, "t.1", 150) == NOTHING, "the back-off that was ended counts no more"
    flight.apply(about("hold", "t.1", 160))
    assert flight.apply(about("hurry", "t.1", 170)) == NOTHING, "what is held is to be released first"


def test_a_retry_nobody_comes_for_is_parked_in_the_end() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    lapse(flight, "t.1", 100)
    assert lapse(flight, "t.1", 1099) == NOTHING
    change = lapse(flight, "t.1", 1100)
    assert change.lost is not None
    assert "no instance of p 1 came" in change.reason


def test_a_parked_task_taken_back_has_all_its_tries_again() -> None:
    flight = Flight()
    event = msgspec.structs.replace(taken("t.3", 500), kind="requeue")
    flight.apply(event)
    assert lapse(flight, "t.3", 500).offer is not None
    flight.apply(taken("t.4", 510, attempt=flight.offers[0].attempt + 1, previous="t.3"))
    assert flight.tasks["t.4"].attempt == 0


def test_an_event_handed_out_twice_is_one_task_and_no_attempt_is_counted() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    flight.apply(about("heartbeat", "t.1", 40))
    flight.apply(taken("t.2", 50))
    [entry] = flight.tasks.values()
    assert (entry.dequeued, entry.earlier, entry.attempt) == ("t.2", ("t.1",), 0)
    assert (entry.state, entry.due) == ("running", 150)
    assert lapse(flight, "t.1", 140) == NOTHING, "the newer hand-out has its own time"
    lapse(flight, "t.2", 150)
    assert [offer.attempt for offer in flight.offers] == [0]


@pytest.mark.parametrize("dequeued", ["t.1", "t.2", "t.3"])
def test_a_final_status_for_any_hand_out_ends_the_task(dequeued: str) -> None:
    flight = Flight()
    for second in (1, 2, 3):
        flight.apply(taken(f"t.{second}", second))
    ended(flight, dequeued, "completed", 10)
    assert not flight.tasks


def test_a_hand_out_beside_a_retry_keeps_the_attempts_counted_so_far() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    lapse(flight, "t.1", 100)
    flight.apply(taken("t.2", 110, attempt=1, previous="t.1"))
    flight.apply(taken("t.3", 120))
    assert flight.tasks["t.3"].attempt == 1
    assert flight.tasks["t.3"].earlier == ("t.1", "t.2")


def test_a_hand_out_of_a_held_task_leaves_it_held() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    flight.apply(about("hold", "t.1", 10))
    flight.apply(taken("t.2", 20))
    assert flight.tasks["t.2"].state == "held"


def test_a_retry_whose_try_before_is_gone_joins_the_task_in_flight() -> None:
    flight = Flight()
    flight.apply(taken("t.5", 0))
    flight.apply(taken("t.6", 10, attempt=1, previous="t.1"))
    [entry] = flight.tasks.values()
    assert (entry.attempt, entry.earlier) == (1, ("t.1", "t.5"))


def test_a_parked_task_that_is_in_flight_anew_is_taken_back_into_that_entry() -> None:
    flight = Flight()
    flight.apply(taken("t.5", 500))
    flight.apply(msgspec.structs.replace(taken("t.3", 510), kind="requeue"))
    [entry] = flight.tasks.values()
    assert (entry.dequeued, entry.state, entry.earlier) == ("t.5", "waiting", ("t.3",))
    assert lapse(flight, "t.5", 510).offer is not None


def test_the_ids_of_tries_do_not_pile_up_without_end() -> None:
    flight = Flight()
    for second in range(2 * limits.TASK_TRIES_REMEMBERED):
        flight.apply(taken(f"t.{second}", second))
    [entry] = flight.tasks.values()
    newest = entry.earlier[-1]
    assert len(entry.earlier) == limits.TASK_TRIES_REMEMBERED
    assert newest == f"t.{2 * limits.TASK_TRIES_REMEMBERED - 2}"


ERROR = "error-out-of-memory"
RETRYING = msgspec.structs.replace(POLICY, retry_statuses=frozenset((ERROR,)))


def test_every_error_a_plugin_may_report_can_be_retried_and_nothing_else() -> None:
    assert frozenset(get_args(TaskError)) == ERRORS


def test_an_error_ends_a_task_unless_it_is_to_be_retried() -> None:
    flight = Flight()
    flight.apply(taken("t.1", 0))
    assert ended(flight, "t.1", ERROR, 10).counted == ("finished", "errored")
    assert not flight.tasks


def test_a_status_that_is_retried_counts_as_a_loss_and_the_last_one_stands() -> None:
    flight = Flight(RETRYING)
    flight.apply(taken("t.1", 0))
    assert ended(flight, "t.1", ERROR, 10).counted == ("errored", "lost", "retried")
    flight.apply(taken("t.2", 20, attempt=1, previous="t.1"))
    assert ended(flight, "t.2", ERROR, 30).counted == ("errored", "lost")
    assert (flight.tasks["t.2"].state, flight.tasks["t.2"].due) == ("waiting", 80)
    lapse(flight, "t.2", 80)
    flight.apply(taken("t.3", 90, attempt=2, previous="t.2"))
    change = ended(flight, "t.3", ERROR, 100)
    assert (change.lost is not None, change.answered) == (True, True)
    assert change.reason == f"said {ERROR} on try 3"
    assert not flight.tasks


def test_several_statuses_of_one_try_that_are_retried_cost_one_attempt() -> None:
    flight = Flight(RETRYING)
    flight.apply(taken("t.1", 0))
    ended(flight, "t.1", ERROR, 10)
    assert ended(flight, "t.1", ERROR, 11) == NOTHING
    flight.apply(taken("t.2", 20, attempt=1, previous="t.1"))
    assert ended(flight, "t.1", ERROR, 30) == NOTHING, "that try was retried already"
    assert len(flight.offers) == 1


def test_another_final_status_ends_a_task_that_waits_for_its_retry() -> None:
    flight = Flight(RETRYING)
    flight.apply(taken("t.1", 0))
    ended(flight, "t.1", ERROR, 10)
    ended(flight, "t.1", "completed", 11)
    assert not flight.tasks


KINDS: list[TaskKind] = ["heartbeat", "finished", "lapsed", "hold", "release", "requeue", "hurry"]


@st.composite
def histories(draw: st.DrawFn) -> list[TaskEvent]:
    """A stream of task events in time order, as a plugin, a timer and a person might cause them."""
    events: list[TaskEvent] = []
    now, tries = 0.0, 0
    for _ in range(draw(st.integers(1, 30))):
        now += draw(st.integers(1, 200))
        if tries == 0 or draw(st.booleans()):
            tries += 1
            previous = f"t.{tries - 1}" if tries > 1 and draw(st.booleans()) else None
            events.append(taken(f"t.{tries}", now, attempt=min(tries - 1, 2), previous=previous))
        else:
            kind = draw(st.sampled_from(KINDS))
            which = draw(st.integers(1, tries))
            events.append(about(kind, f"t.{which}", now, deadline=now))
    return events


@given(histories(), st.data())
def test_records_delivered_again_after_a_crash_never_lose_or_change_a_task(
    history: list[TaskEvent], data: st.DataObject
) -> None:
    """What was not acknowledged comes again, from some record to the end.

    A task that ended by the status of a try before the first repeated record may come back: it is tried
    once more, which is what at-least-once means.
    """
    flight = Flight()
    for offset, event in enumerate(history):
        flight.apply(event, offset)
    before = dict(flight.tasks)
    first = data.draw(st.integers(0, len(history) - 1))
    for offset, event in enumerate(history[first:], first):
        flight.apply(event, offset)
    assert {name: flight.tasks.get(name) for name in before} == before


@given(histories())
def test_a_task_leaves_only_by_a_final_status_or_by_being_parked(history: list[TaskEvent]) -> None:
    flight = Flight()
    for event in history:
        before = dict(flight.tasks)
        flight.apply(event)
        gone = set(before) - set(flight.tasks)
        for dequeued in gone:
            follower = flight.find(dequeued)
            ended = event.kind == "finished" or any(t.dequeued == dequeued for t in flight.lost)
            assert ended or follower is not None


def test_consumers_of_one_plugin_that_read_other_things_have_tasks_of_their_own() -> None:
    flight = Flight()
    for number, consumer in enumerate(("p-1-LH", "p-1-LHD")):
        flight.apply(replace(taken(f"t.{number}", number), consumer_key=consumer))
    assert set(flight.tasks) == {"t.0", "t.1"}
    flight.apply(TaskEvent(kind="finished", dequeued="t.1", task="t", timestamp=2))
    assert set(flight.tasks) == {"t.0"}
