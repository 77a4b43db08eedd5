"""Settings files: what they may say, who wins, and the one clear line for everything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gotriage import config
from gotriage.config import Settings, load
from gotriage.errors import NotPermitted, UsageError

KNOWN = {"fd-leak": {"warning": 1.0}}


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "config.toml") -> str:
        file = tmp_path / name
        file.write_text(text)
        return str(file)

    return write


def test_nothing_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "no" / "config.toml")
    monkeypatch.setattr(config, "user_file", lambda: None)
    assert load() == Settings()


def test_a_whole_file(write):
    path = write('theme = "light"\ninterval = 2\n[keys]\nquit = "ctrl+q"\n[thresholds.fd-leak]\nwarning = 3\n')
    assert load(path, KNOWN) == Settings({"fd-leak": {"warning": 3.0}}, "light", 2.0, {"quit": "ctrl+q"})


def test_the_users_file_wins_over_the_machines_key_by_key(monkeypatch, write):
    system = write('theme = "light"\n[thresholds.fd-leak]\nwarning = 3\nother = 4\n', "system.toml")
    user = write("interval = 5.0\n[thresholds.fd-leak]\nwarning = 7\n", "user.toml")
    monkeypatch.setattr(config, "SYSTEM_FILE", Path(system))
    monkeypatch.setattr(config, "user_file", lambda: Path(user))
    assert load() == Settings({"fd-leak": {"warning": 7.0, "other": 4.0}}, "light", 5.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("thme = 1", "`thme`"),
        ('theme = "pink"', "`theme`"),
        ("interval = true", "`interval`"),
        ("interval = 0.0", "interval = 0"),
        ("[keys]\nquit = 3", "keys.quit = 3"),
        ("[thresholds]\nfd-leak = 3", "[thresholds.fd-leak]"),
        ("[thresholds.fd-lick]\nwarning = 3", "`thresholds.fd-lick`"),
        ("[thresholds.fd-leak]\nworning = 3", "`thresholds.fd-leak.worning`"),
        ('[thresholds.fd-leak]\nwarning = "3"', "thresholds.fd-leak.warning = '3'"),
        ("[thresholds.fd-leak]\nwarning = nan", "thresholds.fd-leak.warning = nan"),
        ("[thresholds.fd-leak]\nwarning = -1", "thresholds.fd-leak.warning = -1"),
        ("this is not TOML", "line 1"),
    ],
)
def test_an_error_is_one_line_that_names_file_and_key(write, text, named):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        load(path, KNOWN)
    assert str(caught.value).startswith(path)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_settings_file(tmp_path):
    with pytest.raises(UsageError, match="no such settings file"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="not a regular file"):
        load(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="not a regular file"):
        load(str(tmp_path / "fifo"))
    (tmp_path / "big").write_bytes(b"#" * (config.MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than"):
        load(str(tmp_path / "big"))
    (tmp_path / "bytes").write_bytes(b"theme = '\xff\xfe'")
    with pytest.raises(UsageError, match="bytes"):
        load(str(tmp_path / "bytes"))


def test_a_usual_file_that_may_not_be_read_is_a_remark_and_a_named_one_an_error(monkeypatch, write):
    theirs, machine = write('theme = "dark"\n', "theirs.toml"), write('theme = "light"\n', "machine.toml")
    real = config._bytes

    def refuse(path):
        if str(path) == theirs:
            raise PermissionError(13, "Permission denied", theirs)
        return real(path)

    monkeypatch.setattr(config, "_bytes", refuse)
    monkeypatch.setattr(config, "SYSTEM_FILE", Path(machine))
    monkeypatch.setattr(config, "user_file", lambda: Path(theirs))
    settings = load()
    assert settings.theme == "light"
    (remark,) = settings.unread
    assert f"{theirs}: Permission denied" in remark
    with pytest.raises(NotPermitted, match="Permission denied"):
        load(theirs)


def test_root_does_not_read_the_callers_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/somebody/.config")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.user_file() == Path("/root/.config/gotriage/config.toml")


def test_a_user_has_it_where_xdg_says(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234567)
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert config.user_file() == Path("/x/gotriage/config.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert config.user_file() == Path("/h/.config/gotriage/config.toml")
    monkeypatch.setenv("SUDO_UID", "7")
    assert config.user_file() is None
