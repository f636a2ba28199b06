"""Body networks by the name that a user gives: HMR2.0's weights, or a network of the user's own."""

from pathlib import Path

from motion.body import load_body
from motion.errors import InputError
from motion.extensions import check_extension, is_extension, load_extension
from recon.regressors.body_regressor import BodyRegressor, LoadRegressor
from recon.regressors.hmr2 import STAND_IN, load_hmr2


def load_regressor(
    spec: str | Path = STAND_IN, smpl: str | Path | None = None, device: str = "cpu", bf16: bool = False
) -> BodyRegressor:
    """Load HMR2.0's weights as `load_hmr2` takes them, or call `package.module:object`, a LoadRegressor.

    The user's own function is given the body in the file `smpl`, or the default one where that is None.
    """
    if not is_extension(str(spec)):
        return load_hmr2(spec, smpl, device, bf16)
    body = load_body(smpl or "default")
    regressor = load_extension(str(spec), LoadRegressor)(body, device, bf16)
    check_extension(f"what {spec} loaded", regressor, BodyRegressor)
    if regressor.body.name != body.name:
        raise InputError(f"{spec} speaks of the body {regressor.body.name}, expected {body.name}")
    return regressor
