"""Peers of the node's fan-out: programs as their own documentation has them, that send texts to all who are connected.

Each listens on a loopback port, which is its first line on stdout. A line on stdin is a JSON array of texts, which are
sent at once, one after the other, to all. It ends with stdin. Nothing is compressed, and nobody is pinged.
"""
