"""How the tables of gotriage/goruntime/layouts are made: see docs/layouts.md."""
