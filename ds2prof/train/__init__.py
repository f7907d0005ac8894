"""The instrumented workload: DeepSpeech2, its synthetic speech, and what ``train_profiling.py`` is made of.

PyTorch lives in this package only. ``presets`` and ``settings`` do without it, so that options are checked, and help
is printed, on a machine that has none.
"""
