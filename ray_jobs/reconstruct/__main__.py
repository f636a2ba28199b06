"""Reconstruct annotated room videos as metric scenes with persons, in Parquet.

    python -m recon.simulate --output rooms --count 8                # or your own Teton tree (recon/teton/tree.py)
    python -m ray_jobs.reconstruct --rooms rooms --output data/rooms
    python -m ray_jobs.reconstruct --rooms rooms --output data/rooms --plan --calibrate 4    # how long would it take?

Writes to the output folder

    motions/*.parquet    one row a sequence: persons in the room's world (Z up, floor z = 0, metres)
    scenes/*.parquet     one row a sequence: the room as labelled points, and its camera
    parts/               rows that are finished and not yet enough for a file of motions/ and one of scenes/
    attempts/            counters of the rows that are in work
    sheets/ID.png        bodies over frames, and the room from above
    rejected/*.parquet   id and reason of each sequence that could not be reconstructed
    reconstruction.html  what was made from which cameras, how good it looks, the worst ten, and which stage is slow
    config.yaml          what was asked for

Ray Data decodes and crops on CPUs, and runs the body network, the depth networks and the fit in actor pools of their
own. Several sequences are in an actor at once, and its batches are filled from all of them. Run again it reconstructs
only what is missing; what was rejected is tried anew. A process that dies or hangs is started again with its sequences;
a sequence whose process died three times in one stage is rejected.
"""

from ray_jobs.common import cli
from ray_jobs.reconstruct import ReconstructConfig, reconstruct

if __name__ == "__main__":
    cli.run(reconstruct, ReconstructConfig, __doc__ or "")
