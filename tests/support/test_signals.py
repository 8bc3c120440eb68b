"""One signal asks, a second Ctrl-C insists, a second SIGTERM does not."""

import os
import signal
import threading

import pytest

from pgbench.support.signals import on_stop


def test_first_signal_asks_and_a_second_ctrl_c_insists():
    asked = []
    with on_stop(lambda: asked.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == [1]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with on_stop(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_are_left_alone():
    done = []

    def work():
        with on_stop(lambda: None):
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
