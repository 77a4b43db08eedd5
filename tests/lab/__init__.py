"""Real parts for the tests: Go toolchains and services, a systemd of its own, docker and podman. See README.md."""
