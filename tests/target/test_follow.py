"""Following a target, with a manager of the test's own: every order of ends and beginnings."""

from __future__ import annotations

import subprocess

import pytest
from gotriage.errors import NotPermitted
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target import follow, pinning
from gotriage.target.model import Sighting, Target
from gotriage.target.pinning import release
from gotriage.target.resolve import refresh, resolve
from gotriage.target.state import state_of

from tests.collectors.fakes import fake_host


class Manager:
    """Says who the main process is."""

    returns = True
    group = ""

    def __init__(self):
        self.says = Sighting(None, "inactive (dead)")
        self.error = None
        self.asked = 0

    def members(self, target):
        return (target.pid,)

    def main(self, _target, /):
        self.asked += 1
        if self.error:
            raise self.error
        return self.says

    def close(self):
        """Nothing is held."""


@pytest.fixture
def sleeper():
    running = []

    def start():
        running.append(subprocess.Popen(["sleep", "60"]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def target():
    found = Target(TargetSpec("unit", "x.service"), Host(), name="x.service", unit="x.service", follower=Manager())
    yield found
    release(found)


def end(process):
    process.kill()
    process.wait()


def whats(events):
    return [event.what for event in events]


def test_up_and_down_and_up(target, sleeper):
    assert refresh(target) == []
    assert (target.reason, state_of(target).state) == ("inactive (dead)", "stopped")
    first = sleeper()
    target.follower.says = Sighting(first.pid)
    assert whats(refresh(target)) == ["started"]
    assert (target.pid, target.generation) == (first.pid, 1)
    assert refresh(target) == []
    target.follower.says = Sighting(None, "failed (failed): result exit-code")
    end(first)
    events = refresh(target)
    assert whats(events) == ["exited"]
    assert "result exit-code" in events[0].detail
    assert (target.pid, target.pids, target.reason) == (None, (), "failed (failed): result exit-code")
    second = sleeper()
    target.follower.says = Sighting(second.pid)
    assert whats(refresh(target)) == ["restarted"]
    assert (target.pid, target.generation) == (second.pid, 2)


def test_a_quick_restart_is_one_event(target, sleeper):
    first, second = sleeper(), sleeper()
    target.follower.says = Sighting(first.pid)
    refresh(target)
    target.follower.says = Sighting(second.pid)
    end(first)
    (event,) = refresh(target)
    assert event.what == "restarted"
    assert event.detail.startswith(f"pid {first.pid} -> {second.pid}")
    assert target.generation == 2


def test_a_manager_that_has_not_noticed_yet(target, sleeper):
    first = sleeper()
    target.follower.says = Sighting(first.pid)
    refresh(target)
    end(first)
    assert whats(refresh(target)) == ["exited"]
    assert refresh(target) == []  # the manager still names the dead one
    target.follower.says = Sighting(sleeper().pid)
    assert whats(refresh(target)) == ["restarted"]


def test_a_handover_while_the_old_process_runs(target, sleeper, monkeypatch):
    first, second = sleeper(), sleeper()
    target.follower.says = Sighting(first.pid)
    refresh(target)
    target.follower.says = Sighting(second.pid)
    assert refresh(target) == []  # it is asked now and then only
    monkeypatch.setattr(follow, "ASK_EVERY", 0.0)
    (event,) = refresh(target)
    assert (event.what, target.pid, target.generation) == ("restarted", second.pid, 2)
    assert "handed over" in event.detail


def test_a_manager_that_fails_changes_nothing(target, sleeper):
    first = sleeper()
    target.follower.says = Sighting(first.pid)
    refresh(target)
    target.follower.error = NotPermitted("no")
    target.asked_at = 0.0
    assert refresh(target) == []
    end(first)
    assert whats(refresh(target)) == ["exited"]
    assert refresh(target) == []


def test_quiet_seconds_do_not_ask(target, sleeper):
    target.follower.says = Sighting(sleeper().pid)
    refresh(target)
    asked = target.follower.asked
    for _ in range(20):
        assert refresh(target) == []
    assert target.follower.asked == asked


def test_notes_are_handed_out_once(target):
    target.pending.append(follow.event("note", "x\x1b"))
    (event,) = refresh(target)
    assert event.detail == "x␛"
    assert refresh(target) == []


def test_no_descriptor_is_left_behind(target, sleeper):
    import os

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        process = sleeper()
        target.follower.says = Sighting(process.pid)
        refresh(target)
        end(process)
        refresh(target)
    pinning.unpin(target)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_picker_has_a_target_of_nothing(tmp_path):
    target = resolve(TargetSpec(), fake_host(tmp_path))
    assert (target.pid, refresh(target)) == (None, [])
    assert state_of(target).state == "stopped"
    release(target)
