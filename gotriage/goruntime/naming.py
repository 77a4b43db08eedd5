"""Which functions are the user's, and which goroutines the runtime's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.goruntime.report import Frame

STANDARD: Final = frozenset({
    "archive", "arena", "bufio", "builtin", "bytes", "cmp", "compress", "container", "context", "crypto",
    "database", "debug", "embed", "encoding", "errors", "expvar", "flag", "fmt", "go", "hash", "html", "image",
    "index", "internal", "io", "iter", "log", "maps", "math", "mime", "net", "os", "path", "plugin", "reflect",
    "regexp", "runtime", "simd", "slices", "sort", "strconv", "strings", "structs", "sync", "syscall", "testing",
    "text", "time", "unicode", "unique", "unsafe", "uuid", "vendor", "weak",
})  # fmt: skip
"""First elements of the standard library's import paths (go list std, Go 1.27). A module's own path has a dot in its
first element, or is named by its build info."""
OURS: Final = ("runtime.main", "runtime.corostart", "runtime.handleAsyncEvent")
"""Goroutines that begin in the runtime and are the user's all the same (runtime/traceback.go, isSystemGoroutine)."""


def package_of(function: str) -> str:
    """The import path in a function's name: "net/http" of "net/http.(*Server).Serve"; dots of it are escaped as %2e."""
    slash = function.rfind("/", 0, _bracket(function))
    dot = function.find(".", slash + 1)
    return (function if dot < 0 else function[:dot]).replace("%2e", ".")


def _bracket(function: str) -> int:
    """Where type arguments or a receiver begin: slashes behind that are not the package's."""
    places = [place for place in (function.find("["), function.find("(")) if place >= 0]
    return min(places, default=len(function))


def is_standard(function: str, module: str = "") -> bool:
    """Whether a function belongs to the runtime or the standard library, not to the module of that path."""
    package = package_of(function)
    if module and (package == module or package.startswith(f"{module}/")):
        return False
    return package.partition("/")[0] in STANDARD or package in ("panic", "type:") or package.startswith("_cgo")


def user_frame(frames: Sequence[Frame], module: str = "") -> int:
    """Index of the first frame of the user's; of the outermost one of the library where there is none; -1 of none."""
    for place, frame in enumerate(frames):
        if not is_standard(frame.function, module):
            return place
    outer = [place for place, frame in enumerate(frames) if frame.function not in ("runtime.goexit", "runtime.main")]
    return outer[-1] if outer else len(frames) - 1


def is_system(start: str) -> bool:
    """Whether a goroutine that begins in this function is the runtime's own (see `OURS`)."""
    return start.startswith("runtime.") and start not in OURS
