"""Classifier guidance: the gradient of a classifier of noisy motions (eq. 2.20). Masks: True = valid.

Shape suffixes: R row (one person of one sample), T frame, F feature.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.diffusion import NoiseSchedule, coefficient

MAX_SHIFT_STD = 1.0
"""Bound on the root mean square of a person's shift, in standard deviations of the data.

An exact classifier shifts by E[x_0 | x_t, y] - E[x_0 | x_t] at s = 1, which is hardly larger. Near pure noise 1 /
sqrt(ᾱ_t) blows up the errors of a learnt one without bound, so the shift is cut there and keeps its direction.
"""


@dataclass(frozen=True, eq=False)
class ClassifierGuidance:
    """Guidance of persons toward the action of their label (Dhariwal and Nichol 2021).

    Pass it to the generator with one label per person; for one person of 60 frames:

        classifier, on = load_classifier("classifier.safetensors"), torch.ones(1)
        labels = torch.tensor([[classifier.label("kneeling")]])
        valid = torch.ones(1, 1, 60, dtype=torch.bool)
        guidance = ClassifierGuidance(classifier.network, generator.schedule, valid, labels, on, 0 * on, on)
        generator.generate([MotionRequest("a person kneels", 60)], corrections=[guidance])

    Eq. 2.20, with the scale s that its print lacks, is ε̄ = ε - s sqrt(1-ᾱ_t) ∇ log f(y | x_t, t). As x_t = sqrt(ᾱ_t)
    x_0 + sqrt(1-ᾱ_t) ε, it moves x_0 by s (1-ᾱ_t) / sqrt(ᾱ_t) ∇ log f.

    `start` and `stop` are shares of sampling: 0 is pure noise, 1 is done. A step costs one forward and backward pass of
    the classifier over the guided persons; all others' estimates are returned unchanged.
    """

    classifier: nn.Module
    """Network from x_t, t and valid frames to logits (`ActionClassifier`), in evaluation mode."""
    schedule: NoiseSchedule
    """Noise schedule of the diffusion model and of the classifier."""
    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""
    labels: Int[Tensor, "batch person"]
    """Class per person; -1 leaves the person unguided."""
    scale: Float[Tensor, " batch"]
    """Scale s of each sample; 0 guides none of its persons."""
    start: Float[Tensor, " batch"]
    """Share of sampling where guidance begins, per sample."""
    stop: Float[Tensor, " batch"]
    """Share of sampling where guidance ends, per sample."""

    def __call__(
        self,
        x0: Float[Tensor, "batch person frame feature"],
        x_t: Float[Tensor, "batch person frame feature"],
        t: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch person frame feature"]:
        """Shift the normalized estimate `x0` at `x_t` and `t` toward the labels."""
        asked = self._asked(t)
        if not asked.any():
            return x0
        sample, valid = asked.nonzero()[:, 0], self.valid[asked]
        gradient = log_gradient(self.classifier, x_t[asked], t[sample], valid, self.labels[asked])
        alphas = self.schedule.alphas_cumprod
        scale = self.scale[sample, None, None] * coefficient((1 - alphas) / alphas.sqrt(), t[sample], gradient)
        guided = x0.clone()
        guided[asked] += _limited(scale * gradient, valid)
        return guided

    def _asked(self, t: Int[Tensor, " batch"]) -> Bool[Tensor, "batch person"]:
        progress = 1 - t / self.schedule.num_steps
        active = (self.start <= progress) & (progress <= self.stop) & (self.scale != 0)
        return (self.labels >= 0) & active[:, None] & self.valid.any(dim=2)


def log_gradient(
    classifier: nn.Module,
    x_t: Float[Tensor, "row frame feature"],
    t: Int[Tensor, " row"],
    valid: Bool[Tensor, "row frame"],
    labels: Int[Tensor, " row"],
) -> Float[Tensor, "row frame feature"]:
    """Compute ∇ log f(label | x_t, t) with respect to x_t; works in inference mode too."""
    with torch.inference_mode(False), torch.enable_grad():
        x_t = x_t.clone().requires_grad_()  # clones, as what is made in inference mode takes no part in gradients
        logits = classifier(x_t[:, None], t.clone(), valid[:, None].clone())[:, 0]
        chosen = logits.log_softmax(dim=-1).gather(1, labels[:, None].clone())
        return torch.autograd.grad(chosen.sum(), x_t)[0]


def _limited(shift_RTF: Tensor, valid_RT: Tensor) -> Tensor:
    count_R = valid_RT.sum(dim=1) * shift_RTF.shape[2]
    size_R = (shift_RTF.square().sum(dim=(1, 2)) / count_R).sqrt()
    return shift_RTF * (MAX_SHIFT_STD / size_R.clamp_min(MAX_SHIFT_STD))[:, None, None]
