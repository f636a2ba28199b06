"""One module per job: typed config, read, call `recon` or `motion`, write. Only here is Ray imported."""
