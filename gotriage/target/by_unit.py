"""A target given as a systemd unit: by its manager over D-Bus, or from the cgroup alone while no manager answers."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Final

from gotriage.errors import AmbiguousTarget, GotriageError, MissingFacility, NoSuchTarget, NotPermitted, UsageError
from gotriage.host import cgroup_names, systemd
from gotriage.host.cgroup_tree import CgroupTree
from gotriage.host.dbus import BusHangs, BusRefused, BusUnreachable
from gotriage.host.pidns import PidView
from gotriage.records.text import clean
from gotriage.target import pinning
from gotriage.target.follow import event
from gotriage.target.model import Target
from gotriage.target.near import near_text
from gotriage.target.unit_follower import UnitFollower

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.deadline import Deadline
    from gotriage.records.target import TargetSpec

MAX_LISTED: Final = 8
"""Names shown in an error line."""
_ACTIVATORS = (".socket", ".timer", ".path")


def attach(spec: TargetSpec, host: Host, deadline: Deadline) -> Target:
    """The unit of that name. Raises UsageError, NoSuchTarget, AmbiguousTarget, MissingFacility, NotPermitted."""
    name = full_name(spec.value)
    if not systemd.booted(host):
        where = f" as --root-pid {host.root_pid} sees it" if host.root_pid else ""
        raise MissingFacility(f"systemd does not run here{where}: there are no units; use --pid or --container")
    try:
        manager, name = _manager_with(spec, host, name, deadline)
    except NoSuchTarget as error:
        raise NoSuchTarget(f"{error}{_elsewhere(spec, host, name)}") from error
    except (BusUnreachable, NotPermitted) as error:
        if spec.user and isinstance(error, NotPermitted):
            raise
        return _without_manager(spec, host, name, error)
    try:
        return _attached(spec, host, manager, name)
    except BaseException:
        manager.close()
        raise


def _elsewhere(spec: TargetSpec, host: Host, name: str) -> str:
    """A user runs a unit of that name, or the system does: say with which flag it is found."""
    tree = CgroupTree(host)
    root = tree.root_of_view()
    owners = [cgroup_names.owner(path, root) for path in tree.named(name, root)]
    users = [owner.uid for owner in owners if owner.uid is not None]
    if spec.user and any(owner.uid is None for owner in owners):
        return "; it is a system unit: leave --user out"
    if users and not spec.user:
        return f"; user {systemd.user_name(users[0])} runs it: add --user"
    return ""


def full_name(name: str) -> str:
    """The name with its suffix: ".service" unless it has one. Raises UsageError for what no unit can be called."""
    if not name.endswith(tuple(f".{kind}" for kind in _SUFFIXES)):
        name += ".service"
    plain = name.translate({ord(sign): "x" for sign in "*?[]"})
    if not cgroup_names.UNIT_NAME.match(plain):
        raise UsageError(f"--unit {clean(name, 80)}: not a unit name; see systemctl list-units")
    return name


_SUFFIXES = ("service", "socket", "scope", "slice", "timer", "path", "target", "mount", "automount", "swap", "device")


def _manager_with(spec: TargetSpec, host: Host, name: str, deadline: Deadline) -> tuple[systemd.Manager, str]:
    """A manager that has the unit, and the unit's exact name. The caller closes the manager."""
    if not spec.user:
        manager = systemd.Manager.open(host, None, deadline)
        try:
            return manager, _existing(manager, name)
        except BaseException:
            manager.close()
            raise
    return _user_manager_with(host, name, deadline)


def _user_manager_with(host: Host, name: str, deadline: Deadline) -> tuple[systemd.Manager, str]:
    uids = systemd.user_managers(host)
    if not uids:
        raise NoSuchTarget("no user manager runs here: nobody has a session, and nobody lingers (loginctl list-users)")
    found: list[tuple[systemd.Manager, str]] = []
    problems: list[GotriageError] = []
    own = systemd.invoking_uid()
    for uid in uids:
        if found and found[0][0].uid == own:
            break  # the invoking user's own unit is meant
        try:
            manager = systemd.Manager.open(host, uid, deadline)
        except (BusUnreachable, NotPermitted) as error:
            problems.append(error)
            continue
        try:
            found.append((manager, _existing(manager, name)))
        except (NoSuchTarget, BusRefused, BusUnreachable) as error:
            problems.append(error)
            manager.close()
    return _only(found, problems, name)


def _only(
    found: list[tuple[systemd.Manager, str]], problems: list[GotriageError], name: str
) -> tuple[systemd.Manager, str]:
    if not found:
        raise next((error for error in problems if isinstance(error, NoSuchTarget)), problems[0])
    active = [pair for pair in found if _active(*pair)] or found
    for manager, _ in found:
        if all(manager is not kept for kept, _ in active[:1]):
            manager.close()
    if len(active) > 1:
        active[0][0].close()
        users = ", ".join(systemd.user_name(manager.uid or 0) for manager, _ in active[:MAX_LISTED])
        raise AmbiguousTarget(f"user unit {name} is there for {users}; run gotriage as that user")
    return active[0]


def _active(manager: systemd.Manager, name: str) -> bool:
    try:
        return manager.property(manager.load(name), "Unit", "ActiveState") in ("active", "activating", "reloading")
    except GotriageError:
        return False


def _existing(manager: systemd.Manager, name: str) -> str:
    """The exact name of a unit that exists: patterns and templates find their only instance.

    Raises NoSuchTarget with near matches, AmbiguousTarget.
    """
    if any(sign in name for sign in "*?["):
        return _one_of(manager, name, name, "matches")
    if "@." in name:
        return _one_of(manager, name, name.replace("@.", "@*."), "is a template with instances")
    path = manager.load(name)
    loaded = manager.property(path, "Unit", "LoadState")
    if loaded == "not-found" and manager.property(path, "Unit", "ActiveState") == "inactive":
        raise NoSuchTarget(_unknown(manager, name))
    return str(manager.property(path, "Unit", "Id"))


def _one_of(manager: systemd.Manager, name: str, pattern: str, relation: str) -> str:
    fitting = [unit for unit in manager.units() if fnmatch.fnmatchcase(unit.name, pattern)]
    fitting = [unit for unit in fitting if unit.active != "inactive"] or fitting
    if len(fitting) == 1:
        return fitting[0].name
    if fitting:
        names = ", ".join(clean(unit.name, 80) for unit in fitting[:MAX_LISTED])
        more = f" and {len(fitting) - MAX_LISTED} more" if len(fitting) > MAX_LISTED else ""
        raise AmbiguousTarget(f"{clean(name, 80)} {relation} {names}{more}; name one")
    if "@." in name and name in manager.unit_files():
        instance = name.replace("@.", "@NAME.")
        raise NoSuchTarget(f"{name} is a template without a running instance; name one, as in --unit {instance}")
    raise NoSuchTarget(_unknown(manager, name))


def _unknown(manager: systemd.Manager, name: str) -> str:
    whose = "" if manager.uid is None else f" of user {systemd.user_name(manager.uid)}"
    try:
        names = [unit.name for unit in manager.units() if unit.load != "not-found"] + manager.unit_files()
    except GotriageError:
        names = []
    return f"no unit {clean(name, 80)}{whose}{near_text(name, _sorted_by_kind(names))}"


def _sorted_by_kind(names: list[str]) -> list[str]:
    """Services first: they are what is looked for."""
    return sorted(dict.fromkeys(names), key=lambda name: not name.endswith(".service"))


def _attached(spec: TargetSpec, host: Host, manager: systemd.Manager, name: str) -> Target:
    name, via = _activated(manager, name)
    view = PidView(host)
    follower = UnitFollower(host, manager, name, view)
    target = Target(spec, host, name=name, unit=name, user_uid=manager.uid, follower=follower)
    if via:
        target.pending.append(event("note", f"{via} starts {name}: looking at that"))
    sighting = follower.main(target)
    if sighting is None:
        raise BusHangs(f"systemd does not answer about {name}")
    target.exec_path = follower.exec_path
    target.cgroup = follower.group or None
    target.reason = sighting.reason
    if sighting.pid is not None:
        try:
            pinning.pin(target, sighting.pid)
        except GotriageError as error:
            target.reason = str(error)
    target.pids = follower.members(target)
    return target


def _activated(manager: systemd.Manager, name: str) -> tuple[str, str]:
    """For a socket, timer or path unit the unit that it starts, and its own name; else the name itself."""
    if not name.endswith(_ACTIVATORS):
        return name, ""
    triggers = manager.property(manager.load(name), "Unit", "Triggers")
    names = [str(item) for item in triggers] if isinstance(triggers, list) else []
    if len(names) > 1:
        listed = ", ".join(clean(item, 80) for item in names[:MAX_LISTED])
        raise AmbiguousTarget(f"{name} starts {listed}; name one")
    return (names[0], name) if names else (name, "")


# -- no manager answers


def _without_manager(spec: TargetSpec, host: Host, name: str, problem: Exception) -> Target:
    """The unit by its cgroup alone. Raises NoSuchTarget, AmbiguousTarget, or the problem itself."""
    tree = CgroupTree(host)
    root = tree.root_of_view()
    paths = [path for path in tree.named(name, root) if _fits(path, root, name, user=spec.user)]
    if len(paths) > 1:
        raise AmbiguousTarget(f"{name} has several cgroups: {', '.join(paths[:MAX_LISTED])} (systemd: {problem})")
    silent = f"systemd does not answer ({problem})"
    owner = cgroup_names.owner(paths[0], root) if paths else cgroup_names.Owner()
    if not paths and (spec.user or name not in systemd.files_on_disk(host)):
        names = {path.rpartition("/")[2] for path in tree.groups(root)} | systemd.files_on_disk(host)
        units = _sorted_by_kind([item for item in names if cgroup_names.UNIT_NAME.match(item)])
        raise NoSuchTarget(f"no unit {name} has a cgroup or a file{near_text(name, units)}; {silent}")
    follower = UnitFollower(host, None, name, PidView(host), uid=owner.uid, group=paths[0] if paths else "")
    target = Target(spec, host, name=name, unit=name, user_uid=owner.uid, follower=follower)
    target.cgroup = follower.group or None
    sighting = follower.from_group(target)
    target.reason = sighting.reason or silent
    if sighting.pid is not None:
        pinning.pin(target, sighting.pid)
        target.pending.append(event("note", f"{silent}: the oldest process of its cgroup is taken for the main one"))
    else:
        target.reason = f"no process in its cgroup; {silent}"
    target.pids = follower.members(target)
    return target


def _fits(path: str, root: str, name: str, *, user: bool) -> bool:
    owner = cgroup_names.owner(path, root)
    return owner.unit == name and (owner.uid is not None) == user
