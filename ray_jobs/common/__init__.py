"""What the jobs share: command line, storage, tracking, sinks, one training loop."""
