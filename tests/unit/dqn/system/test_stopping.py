"""Stop requests, raised in this process."""

import signal
import threading

import pytest

from dqn.system.stopping import STOP_SIGNALS, StopRequest


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_first_signal_only_sets_the_flag(number):
    with StopRequest() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        assert stop.signal_number == number
        assert stop.exit_status == 128 + number


def test_exit_statuses_are_the_shells():
    statuses = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with StopRequest() as stop:
            signal.raise_signal(number)
            statuses.append(stop.exit_status)
    assert statuses == [130, 143]


def test_second_signal_meets_the_handlers_that_stood_before():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert received == []
            signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
            assert stop.signal_number == signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signal_is_given_on_to_the_handler_that_stood_before():
    """submitit's handler requeues the job: it has to be met, after everything is saved."""
    received = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: received.append(number))
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGUSR2)
            assert received == []
            stop.forward()
            assert received == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    "handler", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler], ids=str
)
def test_what_only_ends_the_process_is_left_to_the_caller(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            stop.forward()
            assert stop.exit_status == 130
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupts_raise():
    """Python's own handler: a test run that a shell started in the background ignores Ctrl-C."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interrupts_raise")
def test_second_interrupt_stops_at_once():
    def interrupt_twice():
        with StopRequest():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_handlers_are_put_back_on_leaving():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_outside_the_main_thread_it_is_never_set_and_nothing_fails():
    results = []

    def enter():
        with StopRequest() as stop:
            results.append(stop.is_set())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert results == [False]


def test_a_signal_that_was_held_back_counts_when_the_request_is_entered():
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    signal.raise_signal(signal.SIGUSR1)
    with StopRequest() as stop:
        assert stop.exit_status == 128 + signal.SIGUSR1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
