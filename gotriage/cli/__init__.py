"""The commands: text and JSON on standard output, messages on standard error."""
