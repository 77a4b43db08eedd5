"""HOW GO LIES IN MEMORY: ELF files and build info so far. A library of its own: it knows no target and no records."""
