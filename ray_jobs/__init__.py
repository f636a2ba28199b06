"""Ray jobs, one module each: typed config, read, call `recon` or `motion`, write; the only package that imports Ray."""

import os

# Ray Data reads Parquet footers with this many actors for each read, by default 32: so many processes for one small
# file. One actor reads 128 footers at once.
os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
