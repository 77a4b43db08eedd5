"""The paths that the target uses and the file systems under them.

`used` finds the paths, `rights` works out what may be done with each, `systems` measures the file systems, `collector`
puts them into records, `sleepers` watches threads that hang in the kernel.
"""
