"""Readers of motion data sets, one module each (`motion.datasets.clip` says what a reader is)."""
