"""System calls, traced: `bpf` counts and times them in the kernel; `tracefs` counts them from raw events; `perfstat`
knows only how many there are. See each for what it costs."""
