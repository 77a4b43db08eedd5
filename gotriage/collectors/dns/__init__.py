"""The target's way from names to addresses: its files as they are, and name servers asked on request."""
