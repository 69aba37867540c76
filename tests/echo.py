"""A child for tests: answers, streams, refuses, faults, sleeps, dies and leaves when it is told to."""

import os
import time
from pathlib import Path

from pipeline import child
from pipeline.errors import UserError


def echo(emit, unwanted, text):
    return text


def count(emit, unwanted, to):
    for number in range(to):
        if unwanted.wait(0.01):
            return {"stopped_at": number}
        emit(number)
    return {"stopped_at": None}


def refuse(emit, unwanted):
    raise UserError("row 3: no answer; write one.")


def fault(emit, unwanted):
    raise ZeroDivisionError("by nothing")


def sleep(emit, unwanted):
    time.sleep(60)


def die(emit, unwanted, code):
    os._exit(code)


def leave_once(emit, unwanted, file):
    """Leaves of its own accord before the first answer; its successor answers."""
    if not Path(file).exists():
        Path(file).touch()
        os._exit(0)
    return "served by the next one"


def pid(emit, unwanted):
    return os.getpid()


if __name__ == "__main__":
    verbs = (echo, count, refuse, fault, sleep, die, leave_once, pid)
    child.serve({verb.__name__: verb for verb in verbs})
