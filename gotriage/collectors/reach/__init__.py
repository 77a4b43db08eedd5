"""The reachability walk: to the target's port from outside, or from the target to a peer."""
