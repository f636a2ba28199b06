"""Shared parts of the jobs: command line, storage, tracking, sinks, one training loop."""
