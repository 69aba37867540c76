"""Of many pages each looks less often; the page that is alone looks every second."""

import time

import pytest

from ui import watch


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_more_look_the_less_often_each_does(clock):
    crowd = watch.Crowd()
    for _ in range(5):  # one page, again and again
        crowd.joins("one")
    assert crowd.pace() == 1
    for page in range(60):
        crowd.joins(f"page {page}")
    assert crowd.pace() == 1  # not before the ten seconds are over: everybody has to be told
    clock[0] += watch.CROWD_SECONDS / 2
    for page in range(60):
        crowd.joins(f"page {page}")
    clock[0] += watch.CROWD_SECONDS / 2 + 0.1
    assert crowd.pace() == 2
    clock[0] += watch.CROWD_SECONDS + 0.1  # all have gone
    assert crowd.pace() == 1


def test_a_page_without_a_name_is_one_page(clock):
    crowd = watch.Crowd()
    for _ in range(100):
        crowd.joins(None)
    assert crowd.pace() == 1


def test_nobody_can_make_all_wait(clock):
    """Who pretends to be a thousand pages slows the others down to a look in five seconds, and no further."""
    crowd = watch.Crowd()
    for page in range(1000):
        crowd.joins(f"page {page}")
    assert crowd.pace() == watch.SLOWEST < watch.CROWD_SECONDS
