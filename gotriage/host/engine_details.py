"""What else engines tell of a container: command, mounts, health, security; pure functions over their JSON.

Sources: the Docker Engine API 1.41 (GET /containers/ID/json), moby's container/container.go and volume/mounts
(config.v2.json), the OCI runtime specification 1.0 (config.json).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gotriage.records.secrets import mask_argv, mask_text, mask_value
from gotriage.records.service import ContainerMount
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_WORDS: Final = 200
"""Words of a command, mounts, ports and the like that are kept."""
MAX_WORD: Final = 4096
"""Characters of a word of a command."""
MAX_OUTPUT: Final = 500
"""Characters of a health check's last output."""

_PLUMBING: Final = (
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/run/secrets",
    "/dev/shm",
    "/dev/termination-log",
)
"""Mounts that engines give every container."""
_KERNEL: Final = frozenset({"proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"})
"""File systems of the kernel: every container has them."""


def of_inspect(found: Mapping[str, Any], config: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """More fields of ContainerState from an inspect answer or config.v2.json, its Config and its HostConfig."""
    state = mapping(found.get("State"))
    return {
        "image_id": text(found.get("Image"), 128),
        "command": _command(_started(found, config)),
        "working_directory": text(config.get("WorkingDir"), 4096),
        "user": text(config.get("User"), 256),
        "runtime": text(limits.get("Runtime"), 64),
        "mounts": tuple(_mounts(found, limits)),
        "ports": tuple(_ports(mapping(found.get("NetworkSettings")).get("Ports"))),
        "networks": tuple(_networks(mapping(found.get("NetworkSettings")).get("Networks"))),
        "log_options": _options(mapping(limits.get("LogConfig")).get("Config")),
        "limits": _limits(limits),
        "read_only_root": flag(limits.get("ReadonlyRootfs")),
        "privileged": flag(limits.get("Privileged")),
        "capabilities": tuple(_capabilities(limits)),
        "security_options": tuple(text(word, 256) for word in listing(limits.get("SecurityOpt"))),
        "shared_namespaces": tuple(_shared(limits)),
        "id_map": _first(mapping(limits.get("IDMappings")).get("UidMap")),
        **_health(mapping(state.get("Health") or state.get("Healthcheck")), config),
    }


def of_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """More fields of ContainerState from an OCI config.json."""
    process, linux = mapping(spec.get("process")), mapping(spec.get("linux"))
    ids = mapping(process.get("user"))
    numbers = [str(ids[key]) for key in ("uid", "gid") if isinstance(ids.get(key), int)]
    bounding = mapping(process.get("capabilities")).get("bounding")
    return {
        "command": _command(listing(process.get("args"))),
        "working_directory": text(process.get("cwd"), 4096),
        "user": ":".join(numbers),
        "mounts": tuple(_spec_mounts(spec)),
        "limits": _rlimits(listing(process.get("rlimits"))),
        "read_only_root": flag(mapping(spec.get("root")).get("readonly")) if "root" in spec else None,
        "capabilities": tuple(text(word, 64) for word in listing(bounding)),
        "shared_namespaces": tuple(_spec_shared(linux, of_pod=POD in mapping(spec.get("annotations")))),
        "id_map": _spec_map(linux),
    }


def of_health(found: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ContainerState from podman's healthcheck.log, which has the shape of State.Health."""
    return _health(found, {}) | {"health": text(found.get("Status"), 64)}


def _started(found: Mapping[str, Any], config: Mapping[str, Any]) -> list[Any]:
    """Path and arguments; podman 4.3 gives the path as an argument where there is none."""
    path, words = found.get("Path"), listing(found.get("Args"))
    return [path] if words == [path] and not listing(config.get("Cmd")) else [path, *words]


def _command(words: list[Any]) -> tuple[str, ...]:
    return tuple(clean(word, MAX_WORD) for word in mask_argv(_texts(words)))


def _texts(words: list[Any]) -> list[str]:
    """Bounded: an image may hold megabytes, and masking takes its time."""
    return [word[:MAX_WORD] for word in words[:MAX_WORDS] if isinstance(word, str)]


def _health(health: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    test = _texts(listing(mapping(config.get("Healthcheck")).get("Test")))
    if not health.get("Status") and not test:
        return {}
    last = next((mapping(entry) for entry in reversed(listing(health.get("Log")))), {})
    output = last.get("Output")
    code, said = last.get("ExitCode"), text(output[:MAX_WORD].strip(), MAX_OUTPUT) if isinstance(output, str) else ""
    failed = isinstance(code, int) and code != 0
    shown = f"status {code}: {said}" if failed and said else f"status {code}" if failed else said
    streak = health.get("FailingStreak")
    return {
        "health_test": clean(" ".join(mask_argv(test)), 1000),
        "health_failing": streak if isinstance(streak, int) and not isinstance(streak, bool) else None,
        "health_output": shown,
    }


def _mounts(found: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[ContainerMount]:
    points = found.get("MountPoints")  # config.v2.json
    rows = list(points.values()) if isinstance(points, dict) else listing(found.get("Mounts"))
    kept = sorted(map(mapping, rows[:MAX_WORDS]), key=lambda row: text(row.get("Destination"), 4096))
    for row in kept:
        yield ContainerMount(
            destination=text(row.get("Destination"), 4096),
            kind=text(row.get("Type"), 64),
            source=text(row.get("Source"), 4096),
            name=text(row.get("Name"), 256),
            read_only=row.get("RW") is False,
            options=text(row.get("Propagation"), 256),
        )
    for path, options in list(mapping(limits.get("Tmpfs")).items())[:MAX_WORDS]:
        yield ContainerMount(destination=clean(str(path), 4096), kind="tmpfs", options=text(options, 256))


def _spec_mounts(spec: Mapping[str, Any]) -> Iterator[ContainerMount]:
    for row in map(mapping, listing(spec.get("mounts"))[:MAX_WORDS]):
        path, kind = text(row.get("destination"), 4096), text(row.get("type"), 64)
        words = [text(word, 256) for word in listing(row.get("options"))[:MAX_WORDS]]
        if kind in _KERNEL or path == "/dev" or path.startswith(_PLUMBING):
            continue
        if "bind" in words or "rbind" in words:
            kind = "bind"
        yield ContainerMount(
            destination=path,
            kind=kind,
            source=text(row.get("source"), 4096) if kind == "bind" else "",
            read_only="ro" in words,
            options=",".join(word for word in words if word not in ("bind", "rbind", "ro", "rw")),
        )


def _ports(ports: object) -> Iterator[str]:
    """`8080/tcp`, and where on the host it is published."""
    for port, bindings in list(mapping(ports).items())[:MAX_WORDS]:
        places = [mapping(row) for row in listing(bindings)]
        shown = [f"{text(row.get('HostIp'), 64)}:{text(row.get('HostPort'), 16)}" for row in places]
        yield clean(str(port), 64) + (f" on {', '.join(shown)}" if shown else "")


def _networks(networks: object) -> Iterator[str]:
    """The names of its networks, and its address there."""
    for name, row in list(mapping(networks).items())[:MAX_WORDS]:
        addresses = [text(mapping(row).get(key), 64) for key in ("IPAddress", "GlobalIPv6Address")]
        yield " ".join([clean(str(name), 256), *(address for address in addresses if address)])


_SIZES: Final = {"MemorySwap": "memory and swap", "MemoryReservation": "memory reservation", "ShmSize": "/dev/shm"}
_COUNTS: Final = {"CpuShares": "CPU shares", "OomScoreAdj": "oom_score_adj"}
_NAMES: Final = {"CpusetCpus": "CPUs", "CpusetMems": "memory nodes", "CgroupParent": "cgroup parent"}


def _limits(limits: Mapping[str, Any]) -> dict[str, str]:
    """Limits besides memory, CPU quota and PIDs, in words; sizes in bytes."""
    shown: dict[str, str] = {}
    for names, unit in ((_SIZES, " bytes"), (_COUNTS, "")):
        for key, name in names.items():
            value = limits.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value != 0:
                shown[name] = "no limit" if value == -1 and unit else f"{value}{unit}"
    shown |= {name: word for key, name in _NAMES.items() if (word := text(limits.get(key), 256))}
    if limits.get("OomKillDisable") is True:
        shown["OOM killer"] = "off"
    return shown | _rlimits(listing(limits.get("Ulimits")))


def _rlimits(rows: list[Any]) -> dict[str, str]:
    """Of docker (Name, Soft, Hard) and of a specification (type, soft, hard)."""
    shown: dict[str, str] = {}
    for row in map(mapping, rows[:MAX_WORDS]):
        values = {key.lower(): value for key, value in row.items()}
        shown |= _rlimit(values.get("name") or values.get("type"), values.get("soft"), values.get("hard"))
    return shown


def _rlimit(name: object, soft: object, hard: object) -> dict[str, str]:
    """The name as ulimit takes it: "soft:hard", -1 is without limit."""
    word = text(name, 64).removeprefix("RLIMIT_").lower()
    return {word: f"{soft}:{hard}"[:64]} if word and isinstance(soft, int) and isinstance(hard, int) else {}


def _capabilities(limits: Mapping[str, Any]) -> Iterator[str]:
    for sign, key in (("+", "CapAdd"), ("-", "CapDrop")):
        for word in listing(limits.get(key))[:MAX_WORDS]:
            yield sign + text(word, 64)


_MODES: Final = {
    "NetworkMode": "network",
    "PidMode": "pid",
    "IpcMode": "ipc",
    "UTSMode": "uts",
    "UsernsMode": "user",
    "CgroupnsMode": "cgroup",
}


def _shared(limits: Mapping[str, Any]) -> Iterator[str]:
    """The namespaces that are the host's or another container's."""
    for key, name in _MODES.items():
        mode = text(limits.get(key), 256)
        if mode == "host" or mode.startswith(("container:", "ns:")):
            yield f"{name} {mode}"


POD: Final = "io.kubernetes.cri.sandbox-id"
"""Annotation of a container that is in a pod: containerd's pkg/cri/annotations."""


def _spec_shared(linux: Mapping[str, Any], *, of_pod: bool) -> Iterator[str]:
    """A path is another's namespace; of a pod's container that of the pod, whose network, ipc and uts all share."""
    if not linux:
        return
    rows = [mapping(row) for row in listing(linux.get("namespaces"))]
    given = {text(row.get("type"), 32): text(row.get("path"), 4096) for row in rows}
    for name in ("network", "pid", "ipc", "uts"):
        if name not in given:
            yield f"{name} host"
        elif given[name] and of_pod:
            if name == "pid":
                yield "pid the pod's"
        elif given[name] and name != "network":  # a path for the network is where its own was prepared
            yield f"{name} {given[name]}"


def _spec_map(linux: Mapping[str, Any]) -> str:
    row = next((mapping(one) for one in listing(linux.get("uidMappings"))), {})
    numbers = [row.get(key) for key in ("containerID", "hostID", "size")]
    return ":".join(map(str, numbers)) if all(isinstance(number, int) for number in numbers) else ""


def _first(value: object) -> str:
    return next((text(word, 64) for word in listing(value)), "")


def _options(value: object) -> dict[str, str]:
    pairs = list(mapping(value).items())[:MAX_WORDS]
    return {clean(str(key), 128): clean(mask_value(str(key), str(word)), 256) for key, word in pairs}


def mapping(value: object) -> Mapping[str, Any]:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    """The value when it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object, limit: int) -> str:
    """A cleaned text without secrets; "" for anything else."""
    return clean(mask_text(value[: limit + MAX_WORD]), limit) if isinstance(value, str) else ""


def flag(value: object) -> bool | None:
    """The value when it is true or false, else None."""
    return value if isinstance(value, bool) else None
