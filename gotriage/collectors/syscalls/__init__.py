"""System calls, traced.

`bpf` counts and times them in the kernel; `tracefs` counts them from raw events; `totals` knows only their number.
"""
