"""Root is given away for good, to the user who typed the command."""

from __future__ import annotations

import os

import pytest
from gotriage.host.privilege import Invoker, drop_to, invoker


def in_child(work):
    """Run `work` in a forked child; its text result."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_sudo_names_the_invoker(monkeypatch):
    monkeypatch.setenv("SUDO_UID", "65534")
    assert invoker().name == "nobody"


@pytest.mark.parametrize("text", ["", "abc", "-1", "1.5", "٣"])
def test_a_strange_sudo_uid_is_ignored(monkeypatch, text):
    monkeypatch.setenv("SUDO_UID", text)
    assert invoker().uid == os.getuid()


def test_a_dropped_process_cannot_become_root_again():
    assert os.geteuid() == 0

    def work():
        drop_to(Invoker(65534, 65534, "nobody", "/"))
        answers = [str(os.getresuid()), str(os.getresgid()), str(0 in os.getgroups())]
        for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            try:
                call()
                answers.append("root again")
            except PermissionError:
                answers.append("refused")
        with open("/proc/self/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        return "|".join([*answers, status["CapEff"], status["NoNewPrivs"]])

    zero = "0" * 16
    assert in_child(work) == f"(65534, 65534, 65534)|(65534, 65534, 65534)|False|refused|refused|refused|{zero}|1"


def test_without_root_nothing_is_dropped():
    def work():
        os.setresuid(65534, 65534, 65534)
        drop_to(Invoker(12345, 12345, "x", "/"))
        return str(os.getuid())

    assert in_child(work) == "65534"
