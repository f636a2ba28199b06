"""Human motions, and the model that makes new ones: pure PyTorch and NumPy, usable from a notebook.

World: right-handed, Z up, floor = the XY plane, metres. Masks: True = valid. Rotations are matrices;
6D rotations are the first two columns flattened row by row. Nothing here imports Ray, DeepSpeed or MLflow.

The thesis is A. B. Thuesen, "3D human interaction synthesis for action recognition data augmentation", master's
thesis, DTU, 2024. "eq. 4.1" names one of its equations, "thesis §4.1" one of its sections. Where each equation is:

    eq. 2.1   motion.body.Body.vertices             tests/motion/body/test_smpl_body.py
              test_default_body_agrees_with_smplx_and_forward_kinematics
    eq. 2.2   motion.body.Body.vertices             tests/motion/body/test_smpl_body.py
              test_files_agree_with_smplx_and_forward_kinematics
    eq. 2.3   motion.body.Body.rest_joints          tests/motion/body/test_smpl_body.py
              test_default_body_agrees_with_smplx_and_forward_kinematics
    eq. 2.4   motion.diffusion.NoiseSchedule        tests/motion/test_diffusion.py
              test_golden_schedules
    eq. 2.5   motion.samplers.ddpm                  tests/motion/test_diffusion.py
              test_golden_ancestral
    eq. 2.6   derivation only: one step of eq. 2.4, on the way to eq. 2.7
    eq. 2.7   motion.diffusion.q_sample             tests/motion/test_diffusion.py
              test_golden_single_steps
    eq. 2.8   motion.samplers.ddpm                  tests/motion/test_diffusion.py
              test_golden_single_steps
    eq. 2.9   motion.samplers.ddpm                  tests/motion/test_diffusion.py
              test_golden_single_steps
    eq. 2.10  derivation only: the variational bound
    eq. 2.11  derivation only: the bound as KL divergences
    eq. 2.12  derivation only: one of them between Gaussians of equal variance
    eq. 2.13  derivation only: the same in terms of the noise, on the way to eq. 2.14
    eq. 2.14  motion.diffusion.l_simple             tests/motion/test_diffusion.py
              test_l_simple_ignores_what_is_not_valid
    eq. 2.15  motion.diffusion.cosine_schedule      tests/motion/test_diffusion.py
              test_golden_schedules
    eq. 2.16  derivation only: Bayes' rule, on the way to eq. 2.20
    eq. 2.17  derivation only: the score of a noisy sample
    eq. 2.18  derivation only: the score as the predicted noise
    eq. 2.19  derivation only: the score of a condition, on the way to eq. 2.20
    eq. 2.20  motion.guidance.ClassifierGuidance    tests/motion/guidance/test_classifier.py
              test_an_exact_classifier_makes_the_unconditional_estimate_the_conditional_one
    eq. 2.21  motion.guidance.ClassifierFree        tests/motion/guidance/test_classifier_free.py
              test_each_sample_has_its_own_scale
    eq. 2.22  motion.denoiser.blocks.Attention      tests/motion/denoiser/test_blocks.py
              test_attention_with_dropout_is_attention_where_nothing_is_dropped
    eq. 4.1   recon.smoothing.smooth                tests/recon/test_smoothing.py
              test_jitter_of_20_mm_goes_and_the_motion_stays
    eq. 4.2   recon.floor.fit_floor                 tests/recon/test_floor.py
              test_thesis_regression_agrees_when_the_camera_looks_down
    eq. 4.3   recon.floor.extrinsics                tests/recon/test_floor.py
              test_extrinsics_are_rodrigues_rotation_up_to_a_turn_about_z
    eq. 4.4   recon.floor.extrinsics                tests/recon/test_floor.py
              test_extrinsics_are_rodrigues_rotation_up_to_a_turn_about_z
    eq. 4.5   recon.floor.extrinsics                tests/recon/test_floor.py
              test_extrinsics_put_the_floor_at_zero_and_the_view_along_y
    eq. 4.6   motion.smpl_parameters.SmplParameters.moved tests/motion/test_smpl_parameters.py
              test_moved_parameters_give_the_moved_joints_and_skin
    eq. 4.7   motion.features.encode                tests/motion/test_features.py
              test_golden_sceneintergen_features

Misprints are mended where the equation is implemented. The root's orientation, which eq. 4.7 leaves out, is solved in
closed form by `motion.kinematics.root_orientation`.
"""
