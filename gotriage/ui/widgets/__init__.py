"""Widgets that draw lines: nothing here is rendered from markup."""
