"""Drawing: answers as text, machine formats and figures. Nothing here computes a metric."""
