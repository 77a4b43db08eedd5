"""The functions of the system's libbpf that gotriage calls, typed; its log, kept instead of printed; its errors.

Interface: bpf/libbpf.h and bpf/bpf.h of libbpf 1.0 and later (libbpf.so.1), only what is marked LIBBPF_API.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import threading
from collections import deque
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Final

from gotriage.errors import MissingFacility, NotPermitted
from gotriage.records.text import clean

ALLOW: Final = "run gotriage as root (sudo), or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
"""What the kernel asks of who loads programs (capabilities(7)); probes of user functions need CAP_SYS_ADMIN too."""
KEPT_LINES: Final = 400
"""Lines of libbpf's log that are kept: the verifier's last words are its last lines."""
LINE: Final = 4096
WORDS: Final = 3


class OpenOptions(ctypes.Structure):
    """The first members of bpf_object_open_opts; libbpf takes those that `sz` covers."""

    _fields_ = (("sz", c_size_t), ("object_name", c_char_p))


class UprobeOptions(ctypes.Structure):
    """The first members of bpf_uprobe_opts: `sz` ends before `retprobe`, so that one cannot even be asked for."""

    _fields_ = (("sz", c_size_t), ("ref_ctr_offset", c_size_t), ("bpf_cookie", c_uint64))


class PerfEventOptions(ctypes.Structure):
    """bpf_perf_event_opts."""

    _fields_ = (("sz", c_size_t), ("bpf_cookie", c_uint64))


LOG_FUNCTION: Final = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
"""libbpf_print_fn_t; va_list is passed as a pointer by the C conventions of both x86-64 and AArch64."""
SAMPLE_FUNCTION: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
"""ring_buffer_sample_fn."""

_P = c_void_p
PROTOTYPES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "libbpf_set_print": (_P, (LOG_FUNCTION,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (_P, (c_char_p, c_size_t, ctypes.POINTER(OpenOptions))),
    "bpf_object__load": (c_int, (_P,)),
    "bpf_object__close": (None, (_P,)),
    "bpf_object__btf": (_P, (_P,)),
    "bpf_object__next_program": (_P, (_P, _P)),
    "bpf_object__find_map_by_name": (_P, (_P, c_char_p)),
    "btf__find_by_name_kind": (c_int, (_P, c_char_p, c_uint32)),
    "btf__type_by_id": (_P, (_P, c_uint32)),
    "btf__name_by_offset": (c_char_p, (_P, c_uint32)),
    "bpf_program__name": (c_char_p, (_P,)),
    "bpf_program__set_autoload": (c_int, (_P, ctypes.c_bool)),
    "bpf_program__fd": (c_int, (_P,)),
    "bpf_program__set_expected_attach_type": (c_int, (_P, c_int)),
    "bpf_program__set_attach_target": (c_int, (_P, c_int, c_char_p)),
    "bpf_program__attach": (_P, (_P,)),
    "bpf_program__attach_uprobe_opts": (_P, (_P, c_int, c_char_p, c_size_t, ctypes.POINTER(UprobeOptions))),
    "bpf_program__attach_perf_event_opts": (_P, (_P, c_int, ctypes.POINTER(PerfEventOptions))),
    "bpf_program__attach_tracepoint": (_P, (_P, c_char_p, c_char_p)),
    "bpf_program__attach_raw_tracepoint": (_P, (_P, c_char_p)),
    "bpf_program__attach_iter": (_P, (_P, _P)),
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_link__fd": (c_int, (_P,)),
    "bpf_link__destroy": (c_int, (_P,)),
    "bpf_map__fd": (c_int, (_P,)),
    "bpf_map__type": (c_int, (_P,)),
    "bpf_map__key_size": (c_uint32, (_P,)),
    "bpf_map__value_size": (c_uint32, (_P,)),
    "bpf_map__max_entries": (c_uint32, (_P,)),
    "bpf_map__set_max_entries": (c_int, (_P, c_uint32)),
    "bpf_map__initial_value": (_P, (_P, ctypes.POINTER(c_size_t))),
    "bpf_map_lookup_elem": (c_int, (c_int, c_char_p, _P)),
    "bpf_map_update_elem": (c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_char_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_char_p, _P)),
    "bpf_map_lookup_batch": (c_int, (c_int, _P, _P, _P, _P, ctypes.POINTER(c_uint32), _P)),
    "bpf_map_lookup_and_delete_batch": (c_int, (c_int, _P, _P, _P, _P, ctypes.POINTER(c_uint32), _P)),
    "ring_buffer__new": (_P, (c_int, SAMPLE_FUNCTION, _P, _P)),
    "ring_buffer__consume": (c_int, (_P,)),
    "ring_buffer__epoll_fd": (c_int, (_P,)),
    "ring_buffer__free": (None, (_P,)),
}  # fmt: skip


class _Log(threading.local):
    """What libbpf said to this thread."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)


_log = _Log()


@functools.cache
def _printer() -> Any:  # noqa: ANN401  # a ctypes function object has no public type
    vsnprintf = ctypes.CDLL(None).vsnprintf
    vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)

    def keep(level: int, form: bytes, arguments: int) -> int:
        if level <= 1:  # LIBBPF_WARN, LIBBPF_INFO; not LIBBPF_DEBUG
            text = ctypes.create_string_buffer(65536)
            vsnprintf(text, len(text), form, arguments)
            _log.lines.extend(line[:LINE] for line in text.value.decode("utf-8", "replace").splitlines())
        return 0

    return LOG_FUNCTION(keep)


@functools.cache
def library() -> Any:  # noqa: ANN401  # ctypes.CDLL makes its attributes at run time
    """The library, made ready once a process. Raises MissingFacility."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise MissingFacility(
            "libbpf.so.1 is not installed: apt install libbpf1 (Debian, Ubuntu) or dnf install libbpf (Fedora, RHEL)"
        ) from error
    for name, (result, arguments) in PROTOTYPES.items():
        try:
            function = getattr(loaded, name)
        except AttributeError as error:
            raise MissingFacility(f"the installed libbpf.so.1 has no {name}: it is too old") from error
        function.restype, function.argtypes = result, arguments
    loaded.libbpf_set_print(_printer())
    return loaded


def forget_log() -> None:
    """Begin anew, before a call whose words matter."""
    _log.lines.clear()


def verifier_words(lines: list[str]) -> str:
    """The end of what the verifier said of a program that it refused, "" when it said nothing."""
    last = next((at for at in reversed(range(len(lines))) if "END PROG LOAD LOG" in lines[at]), None)
    if last is None:
        return ""
    said: list[str] = []
    for line in reversed(lines[:last]):
        if "BEGIN PROG LOAD LOG" in line or len(said) == WORDS:
            break
        if line.strip() and not line.startswith(("processed ", "verification time", "stack depth")):
            said.insert(0, line.strip())
    return clean(" | ".join(said), 600)


def failure(code: int, what: str) -> Exception:
    """The error for an errno that a function of libbpf returned, with what libbpf and the verifier said last."""
    lines = list(_log.lines)
    refused = verifier_words(lines)
    if any("valid kernel BTF" in line for line in lines):
        return MissingFacility(f"{what}: the running kernel has no type information (CONFIG_DEBUG_INFO_BTF)")
    if code in (errno.EPERM, errno.EACCES) and not refused:
        return NotPermitted(f"{what}: {os.strerror(code)}; {ALLOW}")
    if code == errno.ENOSYS:
        return MissingFacility(f"{what}: the kernel has no bpf(2), or a seccomp filter hides it")
    if refused:  # the errno is the verifier's choice, EACCES too, and no permission would help
        return OSError(errno.EINVAL, f"{what}: the kernel's verifier refuses it: {refused}")
    words = clean(" | ".join(lines[-WORDS:]), 600)
    return OSError(code, f"{what}: {strerror(code)}" + (f": {words}" if words else ""))


def strerror(code: int) -> str:
    """The errno in words; also ENOTSUPP of the kernel (include/linux/errno.h), which no C library knows."""
    return "not supported by this kernel" if code == 524 else os.strerror(code)


def check(result: int, what: str) -> int:
    """The result, unless it is a negative errno. Raises as `failure` says."""
    if result < 0:
        raise failure(-result, what)
    return result


def check_pointer(pointer: int | None, what: str) -> int:
    """The pointer, unless it is NULL. Raises as `failure` says, by errno."""
    if not pointer:
        raise failure(ctypes.get_errno() or errno.EINVAL, what)
    return pointer
