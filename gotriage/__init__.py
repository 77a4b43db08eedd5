"""gotriage: find out what is wrong with a running Go service, with evidence, without stopping it."""

__version__ = "0.1.0"
