"""Analyses: ``Profile -> Answer``. They compute and never draw; each metric states its formula and its blind spot."""
