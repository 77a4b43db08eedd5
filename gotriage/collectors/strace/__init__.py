"""Single system calls with arguments, by strace(1), which stops the target at each of them.

`lines` reads what it writes, `log` puts that together, `tracer` runs it for seconds.
"""
