"""Engines that produce experience: native-threaded MuJoCo batches."""
