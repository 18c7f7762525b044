"""What is offered is delivered or counted as dropped, whatever the collector does."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from mcp_sidecar.telemetry.delivery import Delivery, Pace, Refused


class Collector:
    """Takes batches as `how` says, one word a batch; the last word goes on."""

    def __init__(self, *how: str) -> None:
        self.how = list(how)
        self.taken: list[int] = []
        self.batches = 0
        self.asked = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, batch: Sequence[int], seconds: float) -> int:
        how = self.how.pop(0) if len(self.how) > 1 else self.how[0]
        self.batches += 1
        self.asked.release()
        if how == "hang":
            assert self.gate.wait(10)
        if how == "raise":
            raise OSError("refused")
        if how == "refuse":
            raise Refused("no")
        if how == "later":
            raise Refused("not now", again=True)
        rejected = 1 if how == "partial" else 0
        self.taken.extend(batch[: len(batch) - rejected])
        return rejected


def joined(delivery: Delivery[int], seconds: float = 5.0) -> None:
    delivery.close(seconds)
    assert delivery.offered == delivery.delivered + delivery.dropped


def test_everything_arrives_once_and_in_order():
    collector = Collector("ok")
    delivery = Delivery("test", collector, pace=Pace(batch=10))
    for number in range(105):
        delivery.offer(number)
    joined(delivery)
    assert collector.taken == list(range(105))
    assert delivery.dropped == 0


@pytest.mark.parametrize("how", ["refuse", "raise"])
def test_a_collector_that_refuses_costs_the_items_and_nothing_else(how: str):
    collector = Collector(how)
    delivery = Delivery("test", collector, pace=Pace(batch=10))
    for number in range(30):
        delivery.offer(number)
    joined(delivery)
    assert (delivery.delivered, delivery.dropped) == (0, 30)


def test_a_collector_that_recovers_gets_what_comes_then():
    collector = Collector("refuse", "ok")
    delivery = Delivery("test", collector, pace=Pace(batch=10, delay=3600))
    for number in range(10):
        delivery.offer(number)
    assert collector.asked.acquire(timeout=5)
    for number in range(10, 20):
        delivery.offer(number)
    joined(delivery)
    assert collector.taken == list(range(10, 20))
    assert delivery.dropped == 10


def test_behind_a_collector_that_hangs_the_newest_are_dropped_and_nobody_waits():
    collector = Collector("hang", "ok")
    delivery = Delivery("test", collector, pace=Pace(batch=10, most=50))
    for number in range(10):
        delivery.offer(number)
    assert collector.asked.acquire(timeout=5)
    for number in range(10, 110):
        delivery.offer(number)
    assert delivery.dropped == 50
    collector.gate.set()
    joined(delivery)
    assert collector.taken == list(range(60))


def test_when_time_is_up_the_sending_is_cut_and_the_rest_is_given_up():
    collector = Collector("hang", "ok")

    def cut() -> None:
        collector.how = ["raise"]
        collector.gate.set()

    delivery = Delivery("test", collector, cut=cut, pace=Pace(batch=10, delay=3600))
    for number in range(10):
        delivery.offer(number)
    assert collector.asked.acquire(timeout=5)
    for number in range(10, 50):
        delivery.offer(number)
    joined(delivery, 0.0)
    assert delivery.dropped >= 40


def test_what_a_collector_never_saw_is_sent_again_in_its_order():
    collector = Collector("later", "later", "ok")
    delivery = Delivery("test", collector, pace=Pace(batch=10, delay=0.01))
    for number in range(30):
        delivery.offer(number)
    for _ in range(5):
        assert collector.asked.acquire(timeout=5)
    joined(delivery)
    assert collector.taken == list(range(30))
    assert delivery.dropped == 0


def test_what_a_collector_rejects_of_a_batch_is_counted_as_dropped():
    collector = Collector("partial")
    delivery = Delivery("test", collector, pace=Pace(batch=10, delay=3600))
    for number in range(10):
        delivery.offer(number)
    joined(delivery)
    assert (delivery.delivered, delivery.dropped, delivery.trouble) == (9, 1, "1 of 10 rejected")


def test_items_are_counted_by_their_weight():
    delivery = Delivery("test", Collector("ok"), weigh=lambda number: number)
    for number in (1, 2, 3):
        delivery.offer(number)
    joined(delivery)
    assert delivery.delivered == 6


def test_batches_and_queues_are_counted_by_weight_too():
    collector = Collector("hang", "ok")
    delivery = Delivery("test", collector, weigh=lambda number: number, pace=Pace(batch=10, most=20))
    delivery.offer(10)
    assert collector.asked.acquire(timeout=5)
    for number in (6, 6, 12, 8, 1):
        delivery.offer(number)
    assert (delivery.waiting, delivery.dropped) == (20, 13), "12 and 1 came when there was no room for them"
    collector.gate.set()
    joined(delivery)
    assert (collector.taken, collector.batches) == ([10, 6, 6, 8], 4)


def test_what_is_heavier_than_a_batch_goes_alone():
    collector = Collector("ok")
    delivery = Delivery("test", collector, weigh=lambda number: number, pace=Pace(batch=10, most=40))
    for number in (2, 30, 3):
        delivery.offer(number)
    joined(delivery)
    assert collector.taken == [2, 30, 3]


def test_of_what_says_all_only_the_last_waits():
    collector = Collector("hang", "ok")
    delivery = Delivery("test", collector, pace=Pace(most=1, batch=1, latest=True))
    delivery.offer(0)
    assert collector.asked.acquire(timeout=5)
    for number in range(1, 10):
        delivery.offer(number)
    assert (delivery.waiting, delivery.dropped) == (1, 8)
    collector.gate.set()
    joined(delivery)
    assert collector.taken == [0, 9]


@pytest.mark.parametrize("how", ["later", "refuse"])
def test_what_was_not_taken_gives_way_to_what_says_more(how: str):
    collector = Collector(how, "ok")
    delivery = Delivery("test", collector, pace=Pace(most=1, batch=1, delay=3600, latest=True))
    delivery.offer(0)
    assert collector.asked.acquire(timeout=5)
    delivery.offer(1)
    joined(delivery)
    assert (collector.taken[-1], delivery.delivered + delivery.dropped) == (1, 2)


def test_what_is_offered_after_the_end_is_dropped():
    delivery = Delivery("test", Collector("ok"))
    joined(delivery)
    delivery.offer(1)
    assert delivery.dropped == 1
