"""The privileged half: runs the catalogue's collectors for a target, supervises them, writes the record stream."""
