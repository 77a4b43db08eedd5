"""Calls of C library functions: `probed` counts them in the kernel, by a breakpoint at the begin of each; `ltraced` has
ltrace(1) stop the target at each, which only programs with one thread survive."""
