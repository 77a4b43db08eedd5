"""Certificates: whom the target trusts, what it was given, what it serves and meets."""
