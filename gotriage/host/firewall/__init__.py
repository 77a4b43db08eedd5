"""Packet filters: rules of nftables and iptables in one form, and what they do with a packet."""
