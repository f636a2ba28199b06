"""How good a motion is, one file per metric: free functions over arrays, metres in a Z-up world."""
