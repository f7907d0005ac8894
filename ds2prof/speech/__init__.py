"""Speech as data: manifests, audio, features, orders and synthetic corpora. NumPy and no PyTorch.

What turns this into batches on a device lies in ``ds2prof/train/``.
"""
