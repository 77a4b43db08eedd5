"""Where a container's output goes, by what its labels say: they come with the image, from anyone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from gotriage.host import Host, container_logs

if TYPE_CHECKING:
    from pathlib import Path

ID = "ab" * 32


def state_files(view: Path, path: str) -> Host:
    """A view in which containerd has a container whose annotation names `path` as its log."""
    folder = view / f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"annotations": {"io.kubernetes.cri.container-log-path": path}}))
    return Host(view=view)


def test_the_kubelets_file(tmp_path):
    host = state_files(tmp_path, "/var/log/pods/shop_web-1_u1/web/0.log")
    assert container_logs.find(host, ID).path == "/var/log/pods/shop_web-1_u1/web/0.log"


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/var/log/pods/../../../etc/shadow", "/var/log/auth.log", "/var/log/pods/../auth.log", "x", ""],
)
def test_any_other_file_of_the_host_is_not_read(tmp_path, path):
    assert container_logs.find(state_files(tmp_path, path), ID).path == ""
