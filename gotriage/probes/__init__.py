"""What runs in the kernel: programs as files, never Python strings. None yet."""
