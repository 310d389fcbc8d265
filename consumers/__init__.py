"""Headless readers of the log, one file each."""
