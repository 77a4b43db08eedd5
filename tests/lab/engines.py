"""docker and podman inside a systemd lab, with images built FROM scratch.

The lab's cgroup tree may have no controllers and its kernel no bridge: containers have the network "none" or "host"
(that of the lab), and podman runs by runc without a limit of PIDs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.process import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.systemd import Lab

DAEMON = {"iptables": False, "bridge": "none"}
BUILD = "/root/image"


@dataclass
class Engine:
    """A container engine of a lab.

    Attributes:
        lab: where it runs.
        name: docker or podman.
        socket: its API, inside the lab.
        options: what each `run` needs here.
    """

    lab: Lab
    name: str
    socket: str
    options: tuple[str, ...]
    images: set[str] = field(default_factory=set)
    containers: list[str] = field(default_factory=list)

    def cli(self, *arguments: str, check: bool = True, timeout: float = 90) -> str:
        """Run the engine's own command inside; its standard output."""
        return self.lab.run(f"/usr/bin/{self.name}", *arguments, check=check, timeout=timeout).stdout.strip()

    def image(self, binary: Path, extra: str = "") -> str:
        """An image of nothing but the binary; its tag. `extra` are more lines of the Dockerfile."""
        tag = f"{binary.name}-{binary.parent.name}".lower()
        if extra:
            tag += f"-{abs(hash(extra)):x}"
        if tag not in self.images:
            self.lab.install(binary, f"{BUILD}/{binary.name}")
            dockerfile = f'FROM scratch\nCOPY {binary.name} /{binary.name}\n{extra}\nENTRYPOINT ["/{binary.name}"]\n'
            self.lab.write(f"{BUILD}/Dockerfile", dockerfile)
            environment = ["env", "DOCKER_BUILDKIT=0", "LC_ALL=C.UTF-8"]
            self.lab.run(*environment, f"/usr/bin/{self.name}", "build", "-q", "-t", tag, BUILD, timeout=120)
            self.images.add(tag)
        return tag

    def run(self, name: str, image: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """Start a container in the background; its full id. A container of the same name is removed first."""
        self.remove(name)
        network = () if any(option.startswith("--network") for option in options) else ("--network=none",)
        found = self.cli("run", "-d", "--name", name, *self.options, *network, *options, image, *arguments)
        self.containers.append(name)
        return found.splitlines()[-1]

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine says about a container."""
        found: dict[str, Any] = json.loads(self.cli("inspect", name))[0]
        return found

    def pid(self, name: str) -> int:
        """The container's first process, as this machine counts; 0 if it does not run."""
        return self.lab.host_pid(int(self.inspect(name)["State"]["Pid"]))

    def logs(self, name: str) -> str:
        """Both standard streams so far."""
        done = self.lab.run(f"/usr/bin/{self.name}", "logs", name)
        return done.stdout + done.stderr

    def remove(self, name: str) -> None:
        """Kill and remove the container, if there is one."""
        self.cli("rm", "-f", name, check=False)
        if name in self.containers:
            self.containers.remove(name)

    def clear(self) -> None:
        """Remove every container that was started here."""
        for name in list(self.containers):
            self.remove(name)


def _tmpfs(lab: Lab, path: str) -> None:
    """An overlay file system cannot be the upper side of another, so the engine's files lie in memory."""
    lab.run("mkdir", "-p", path)
    if lab.run("mountpoint", "-q", path, check=False).returncode:
        lab.run("mount", "-t", "tmpfs", "tmpfs", path)


def start_docker(lab: Lab) -> Engine:
    """dockerd and containerd of the distribution, as units of the lab."""
    _tmpfs(lab, "/var/lib/docker")
    lab.write("/etc/docker/daemon.json", json.dumps(DAEMON))
    lab.systemctl("start", "docker")
    engine = Engine(lab, "docker", "/run/docker.sock", ())
    wait_until(lambda: engine.cli("info", check=False), 30)
    return engine


def start_podman(lab: Lab) -> Engine:
    """podman with its Docker-compatible API on /run/podman/podman.sock."""
    _tmpfs(lab, "/var/lib/containers")
    lab.systemctl("start", "podman.socket")
    return Engine(lab, "podman", "/run/podman/podman.sock", ("--runtime=runc", "--pids-limit=-1", *LIMITS))


LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
"""podman's own defaults lie above the hard limits of a process without CAP_SYS_RESOURCE."""
