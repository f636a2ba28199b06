"""Metrics of a motion's quality, one file each: free functions over arrays, metres in a Z-up world."""
