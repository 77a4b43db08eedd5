"""Profiles: who samples (`samplers`), what becomes of samples (`building`), and the traces `cpu` and `wall`."""
