"""Ray jobs, one module each: typed config, read, call `recon` or `motion`, write; the only package that imports Ray."""
