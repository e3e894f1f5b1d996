"""Threads that read ahead and write behind."""

import threading
import time

import pytest

from coupling.archive.overlap import ahead, behind


def test_one_item_is_read_ahead_and_no_more():
    begun = []

    def read(k):
        begun.append(k)
        return threading.current_thread().name, k

    for k, coming in ahead(read, range(5)):
        name, number = coming.result()
        assert number == k and name.startswith("reading")
        end = time.monotonic() + 5
        while len(begun) < min(k + 2, 5) and time.monotonic() < end:
            time.sleep(0.001)
        assert begun == list(range(min(k + 2, 5)))
    assert list(ahead(read, [])) == []


def test_what_cannot_be_read_is_raised_in_its_place():
    def read(k):
        if k == 1:
            raise ValueError("one")
        return k

    results = []
    for _k, coming in ahead(read, range(3)):
        try:
            results.append(coming.result())
        except ValueError as error:
            results.append(str(error))
    assert results == [0, "one", 2]


def test_in_turn_nothing_is_read_before_it_is_needed_and_all_is_written_at_once():
    begun, written = [], []

    def read(k):
        begun.append(k)
        if k == 1:
            raise ValueError("one")
        return threading.current_thread(), k

    with behind(beside=False) as do:
        for k, coming in ahead(read, range(3), beside=False):
            assert begun == list(range(k + 1))
            if k == 1:
                with pytest.raises(ValueError, match="one"):
                    coming.result()
            else:
                assert coming.result() == (threading.main_thread(), k)
                do(written.append, k)
                assert written[-1] == k


def test_writing_continues_in_the_background_in_order():
    written, may_go = [], threading.Event()

    def write(k):
        may_go.wait(5)
        written.append(k)

    with behind() as do:
        do(write, 0)
        assert written == []  # not waited for
        may_go.set()
        do(write, 1)
        do(write, 2)
    assert written == [0, 1, 2]


def test_a_failed_write_is_raised():
    def fails():
        raise OSError("full")

    with pytest.raises(OSError, match="full"), behind() as do:
        do(fails)
    with pytest.raises(OSError, match="full"), behind() as do:
        do(fails)
        do(print)
