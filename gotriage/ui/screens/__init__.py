"""Screens: the frame that all share, the tabs, and pages pushed above them."""
