"""Body networks, which turn crops of persons into SMPL parameters."""

from recon.regressors.body_regressor import BodyRegressor, CropEstimates
from recon.regressors.hmr2 import HMR2, HMR2Config, HMR2Regressor
from recon.regressors.loading import load_regressor

__all__ = ["HMR2", "BodyRegressor", "CropEstimates", "HMR2Config", "HMR2Regressor", "load_regressor"]
