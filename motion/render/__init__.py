"""Pictures of a motion: the body's mesh or stick figures, as a PNG strip or an animated GIF.

World: Z up, floor z = 0, metres; pictures are parallel projections seen from a little above. Each person has one colour
family. `python -m motion.render` draws motions of a Parquet file.
"""

from motion.render.mesh import animate_body, body_strip
from motion.render.page import FAMILIES, GRID, INK, PAPER
from motion.render.shading import GAMMA
from motion.render.sticks import animate, strip

__all__ = [
    "FAMILIES",
    "GAMMA",
    "GRID",
    "INK",
    "PAPER",
    "animate",
    "animate_body",
    "body_strip",
    "strip",
]
