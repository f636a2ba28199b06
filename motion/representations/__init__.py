"""Representations of motion that the field uses: HumanML3D's 263, InterGen's 262, SceneInterGen's 286 numbers.

Joints go in and come out Z up, in metres, the first 22 of SMPL; their rotations, where a format has its own, are SMPL's
local ones. HumanML3D and InterGen are Y up inside, stand on the clip's lowest joint and start over the origin, facing
+Z (our -Y). Their frames hold the step to the next frame, so there is one fewer than in the motion.

    HumanML3D (Guo et al. 2022), 20 fps     half the turn to the right 1, pelvis step along X and Z 2, pelvis height 1,
        joints 21 x 3, rotations 21 x 6, joint steps 22 x 3, all these as seen along the heading, foot contacts 4
    InterGen (Liang et al. 2024), 30 fps    joints 22 x 3, joint steps 22 x 3, rotations 21 x 6, foot contacts 4
    SceneInterGen (the thesis' code)        the 282 of `motion.features`, foot contacts 4; all 24 joints, Z up;
        `motion.features.decode` of the first 282 gives the pose

Unexpected properties of these formats are kept, because the models were trained on them:

- HumanML3D's heading takes the hips' line the wrong way round, is smoothed over some seconds, and is +Z on frame 0
  whatever comes next. Its rotations are shortest arcs from an idealized skeleton, which know no twist, and its
  arms turn relative to the pelvis instead of the chest.
- InterGen stands each person on their own lowest joint, so a person lying in a bed comes down to the floor. Its
  rotations lie in our 6D order, as its files and its mirroring have them, not in HumanML3D's.
- A foot in contact is slow in HumanML3D; also low at the first frame of the step in InterGen, at the second in
  SceneInterGen.

One thing is mended: where a person turns through the direction opposite to the first frame's, HumanML3D's arcsine gives
that one turn the wrong sign and the rest of the motion comes back turned. Here its sign is right.
"""

from motion.representations.humanml3d import (
    HUMANML3D_FPS,
    bone_lengths,
    encode_263,
    humanml3d_263,
    joints_from_263,
    joints_from_263_rotations,
    uniform_skeleton,
)
from motion.representations.intergen import (
    INTERGEN_FPS,
    encode_262,
    encode_286,
    intergen_262,
    joints_from_262,
    mirror,
    split_492,
)
from motion.representations.y_up import NUM_JOINTS

__all__ = [
    "HUMANML3D_FPS",
    "INTERGEN_FPS",
    "NUM_JOINTS",
    "bone_lengths",
    "encode_262",
    "encode_263",
    "encode_286",
    "humanml3d_263",
    "intergen_262",
    "joints_from_262",
    "joints_from_263",
    "joints_from_263_rotations",
    "mirror",
    "split_492",
    "uniform_skeleton",
]
