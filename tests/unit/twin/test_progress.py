import time

import pytest
from rich.console import Console

from adapter_twin.progress import counting, watching


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))


@pytest.mark.usefixtures("terminal")
def test_simulated_time_is_looked_at_while_the_work_goes_on(capsys):
    looked = []

    def now():
        looked.append(time.monotonic())
        return 30.0

    with watching("simulating", 60.0, now):
        deadline = time.monotonic() + 10.0
        while not looked and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = capsys.readouterr()
    assert looked
    assert "30 of 60 s" in shown.err
    assert shown.out == ""


@pytest.mark.usefixtures("terminal")
def test_the_watcher_stops_when_the_work_fails():
    def fail():
        with watching("simulating", 60.0, lambda: 1.0):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()


@pytest.mark.usefixtures("terminal")
def test_counts_are_shown_on_stderr(capsys):
    with counting("writing", 4) as on_rows:
        on_rows(3)
    assert "writing" in capsys.readouterr().err


def test_nothing_is_shown_where_nobody_looks(capsys):
    with counting("writing", 4) as on_rows, watching("simulating", 60.0, lambda: 1.0):
        on_rows(3)
    assert capsys.readouterr() == ("", "")
