"""WHAT WE KNOW SO FAR: the store with its cursor, the stream codec, recordings, redaction, comparison."""
