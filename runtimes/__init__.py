"""What runs on the device: the standard library, numpy and one interpreter; nothing of ours above.

Python 3.9 to 3.13, numpy 1.x and 2.x.
"""
