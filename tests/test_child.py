"""A helper process costs only itself: whatever happens to it, the page gets an answer or a sentence."""

import os
import threading
import time

import pytest

from pipeline.child import Child
from pipeline.errors import UserError


@pytest.fixture
def echo():
    helper = Child("echo", package="tests")
    yield helper
    helper.end()


def drain(stream, then=lambda item: None):
    """(every item, the result) of a stream; `then` is told each item."""
    items = []
    while True:
        try:
            items.append(next(stream))
        except StopIteration as end:
            return items, end.value
        then(items[-1])


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_answer_comes_back_as_it_was_sent(echo):
    """Any text, in one piece."""
    text = 'naïve "quotes" \n 中文 \ud83c\udf89'.encode("utf-16", "surrogatepass").decode("utf-16") + "x" * 200_000
    assert echo.ask("echo", 30, text=text) == text


def test_pieces_arrive_in_order_and_then_the_result(echo):
    """A stream yields every item; its return value is the result."""
    assert drain(echo.stream("count", 30, to=5)) == ([0, 1, 2, 3, 4], {"stopped_at": None})


def test_a_wish_to_stop_is_heard_while_it_works(echo):
    """Setting the flag ends the work early, and what it came to is still told."""
    stop = threading.Event()
    _, result = drain(echo.stream("count", 30, stop, to=100_000), lambda _: stop.set())
    assert result["stopped_at"] < 100_000
    assert echo.ask("echo", 30, text="next") == "next"


def test_a_question_taken_back_before_its_turn_is_never_asked(echo):
    """It ends in a sentence, not in silence; the one before it goes on."""
    first = echo.stream("count", 30, to=200)
    next(first)
    stop = threading.Event()
    stop.set()
    with pytest.raises(UserError, match="Stopped before it began"):
        drain(echo.stream("echo", 30, stop, text="late"))
    assert drain(first)[1] == {"stopped_at": None}


def test_closing_a_stream_stops_the_work(echo):
    """Whoever leaves does not keep the child busy."""
    stream = echo.stream("count", 30, to=100_000)
    next(stream)
    stream.close()
    assert echo.ask("echo", 10, text="free") == "free"


def test_two_who_ask_at_once_get_their_own_answers(echo):
    """Answers are matched by their question."""
    found: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: echo.ask("echo", 30, text=str(i))})) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: str(i) for i in range(20)}


def test_a_sentence_stays_a_sentence_and_a_fault_names_itself(echo):
    """UserError comes through word for word; a bug is told by kind, and the child lives on."""
    with pytest.raises(UserError, match=r"^row 3: no answer; write one\.$"):
        echo.ask("refuse", 30)
    with pytest.raises(UserError, match="ZeroDivisionError: by nothing"):
        echo.ask("fault", 30)
    assert echo.ask("echo", 30, text="alive") == "alive"


def test_silence_ends_the_child_and_only_the_child(echo):
    """A time-out kills what hangs; the next question gets a new process."""
    before = echo.ask("pid", 30)
    with pytest.raises(UserError, match="No answer within 1 s"):
        echo.ask("sleep", 1)
    assert gone(before)
    assert echo.ask("pid", 30) != before


def test_a_child_that_dies_is_told_and_replaced(echo):
    """As after a kill for want of memory: the question that killed it is not asked again."""
    before = echo.ask("pid", 30)
    with pytest.raises(UserError, match="ended before it had answered"):
        echo.ask("die", 30, code=9)
    assert echo.ask("pid", 30) != before


def test_a_child_that_left_of_its_own_accord_is_asked_again(echo, tmp_path):
    """The engine leaves when a job wants the device; whoever asked in that moment does not notice."""
    assert echo.ask("leave_once", 30, file=str(tmp_path / "left")) == "served by the next one"


def test_no_child_outlives_the_page(echo):
    """When the page's end of the socket closes, the child ends itself, even in the middle of its work."""
    pid = echo.ask("pid", 30)
    echo._send("sleep", {})
    time.sleep(0.3)
    process = echo._process
    echo._socket.shutdown(2)
    assert process.wait(timeout=60) == 0
    assert gone(pid)


def test_a_short_question_behind_a_long_one_ends_nobody(echo):
    """Silence counts from when the child begins; whoever waits in the queue is no reason to end what is at work."""
    long, found = echo.stream("count", 30, to=150), []
    next(long)
    short = threading.Thread(target=lambda: found.append(echo.ask("echo", 0.5, text="short")))
    short.start()
    assert drain(long)[1] == {"stopped_at": None}
    short.join(timeout=60)
    assert found == ["short"]
