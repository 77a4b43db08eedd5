"""WHO: a PID, a systemd unit or a container becomes a `Target`, and stays the right one."""
