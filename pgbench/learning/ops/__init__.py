"""Pure tensor functions shared by three algorithms or more; they import torch alone.

Start with `returns` (control) or `groups` (texts).
"""
