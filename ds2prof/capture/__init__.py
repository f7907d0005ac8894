"""Carrying a capture out: what is asked for, the command line, the processes, what they print, and what they leave."""
