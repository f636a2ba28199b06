"""HMR2.0 (Goel et al. 2023, Humans in 4D): a vision transformer sees a crop, a decoder predicts SMPL parameters.

Modules and parameters have the names of the authors' release (4D-Humans), so that their checkpoint fills them strictly.
Input: 256 × 256 RGB crops of `recon.regressors.crops.crop_square`; the network sees the 192 columns in the middle.

B batch, N tokens (16 × 16 pixels each), D width, H heads.
"""

from collections import OrderedDict
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from motion.body import WHERE_TO_GET, Body, load_body
from motion.errors import InputError
from motion.rotations import matrix_from_6d, rows_first
from motion.weights import read_weights
from recon.regressors.body_regressor import CropEstimates
from recon.regressors.hmr2_checkpoint import FORMAT, fill_official

STAND_IN = "hmr2_tiny"
ASSETS = Path(__file__).parents[1] / "assets"
MADE_BY = "recon.training.hmr2_tiny"
CROP_SIZE, SIDE_CUT, PATCH = 256, 32, 16
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values from 0 to 1
ROWS, COLUMNS = CROP_SIZE // PATCH, (CROP_SIZE - 2 * SIDE_CUT) // PATCH


@dataclass(frozen=True)
class HMR2Config:
    """Sizes of the network; the defaults are the official release's."""

    width: int = 1280
    """Width of the backbone's tokens."""
    depth: int = 32
    """Layers of the backbone."""
    heads: int = 16
    """Attention heads of the backbone."""
    head_width: int = 1024
    """Width of the SMPL head's token."""
    head_depth: int = 6
    """Layers of the SMPL head."""
    head_heads: int = 8
    """Attention heads of the SMPL head."""
    head_dim: int = 64
    """Channels of each of those heads."""
    head_mlp: int = 1024
    """Inner width of the SMPL head's feed-forward networks."""


OFFICIAL = HMR2Config()
TINY = HMR2Config(width=128, depth=4, heads=4, head_width=128, head_depth=2, head_heads=4, head_mlp=256)


class HMR2(nn.Module):
    """Backbone and SMPL head of HMR2.0."""

    def __init__(self, config: HMR2Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.smpl_head = SMPLHead(config)

    def forward(self, images: Float[Tensor, "batch 3 256 256"]) -> CropEstimates:
        """Estimate SMPL parameters for crops whose colours went through `normalize`."""
        return self.smpl_head(self.backbone(images[..., SIDE_CUT:-SIDE_CUT]))


class Backbone(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) as in ViTPose (Xu et al. 2022).

    The position of the class token, which is absent itself, is added to every token.
    """

    def __init__(self, config: HMR2Config) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, config.width, kernel_size=PATCH, stride=PATCH, padding=2)}
        )
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + ROWS * COLUMNS, config.width))
        self.blocks = nn.Sequential(*(Block(config.width, config.heads) for _ in range(config.depth)))
        self.last_norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, images: Float[Tensor, "batch 3 256 192"]) -> Float[Tensor, "batch token width"]:
        x_BND = self.patch_embed["proj"](images).flatten(2).mT
        x_BND = x_BND + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        return self.last_norm(self.blocks(x_BND))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, x_BND: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        return x_BND + self.mlp(self.norm2(x_BND))


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        return self.proj(_attend(self.heads, *self.qkv(x_BND).chunk(3, dim=-1)))


class SMPLHead(nn.Module):
    """Decoder in which one zero token attends to the image's tokens; its answer is added to SMPL's mean parameters."""

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: HMR2Config) -> None:
        super().__init__()
        self.transformer = Decoder(config)
        self.decpose = nn.Linear(config.head_width, 24 * 6)
        self.decshape = nn.Linear(config.head_width, 10)
        self.deccam = nn.Linear(config.head_width, 3)
        self.register_buffer("init_body_pose", torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0] * 24]))
        self.register_buffer("init_betas", torch.zeros(1, 10))
        self.register_buffer("init_cam", torch.tensor([[0.9, 0.0, 0.0]]))

    def forward(self, context_BND: Float[Tensor, "batch token width"]) -> CropEstimates:
        """Estimate SMPL parameters from the image's tokens, in fp32."""
        with torch.autocast(context_BND.device.type, enabled=False):  # the head is small: nothing is rounded here
            found = self.transformer(context_BND.float())
            pose = (self.decpose(found) + self.init_body_pose).unflatten(-1, (24, 6))
            rotations = matrix_from_6d(rows_first(pose))  # the release writes one column, then the other
            return CropEstimates(
                global_orient=rotations[:, 0],
                body_pose=rotations[:, 1:],
                betas=self.decshape(found) + self.init_betas,
                cam=self.deccam(found) + self.init_cam,
            )


class Decoder(nn.Module):
    """Transformer decoder with a single query token."""

    def __init__(self, config: HMR2Config) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, config.head_width)
        self.pos_embedding = nn.Parameter(torch.randn(1, 1, config.head_width))
        self.transformer = DecoderLayers(config)

    def forward(self, context_BND: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch head_width"]:
        query = self.to_token_embedding(context_BND.new_zeros(len(context_BND), 1, 1)) + self.pos_embedding
        return self.transformer(query, context_BND)[:, 0]


class DecoderLayers(nn.Module):
    """Stack of decoder layers."""

    def __init__(self, config: HMR2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.head_depth))

    def forward(
        self, query: Float[Tensor, "batch query head_width"], context: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch query head_width"]:
        for layer in self.layers:
            query = layer(query, context)
        return query


class DecoderLayer(nn.ModuleList):
    """Self-attention, cross-attention and feed-forward, each pre-normed and residual."""

    def __init__(self, config: HMR2Config) -> None:
        width, inner = config.head_width, config.head_heads * config.head_dim
        own = OwnAttention(width, inner, config.head_heads)
        cross = CrossAttention(width, config.width, inner, config.head_heads)
        feed_forward = FeedForward(width, config.head_mlp)
        super().__init__(PreNorm(width, module) for module in (own, cross, feed_forward))

    def forward(
        self, query: Float[Tensor, "batch query head_width"], context: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch query head_width"]:
        own, cross, feed_forward = self
        query = query + own(query)
        query = query + cross(query, context)
        return query + feed_forward(query)


class PreNorm(nn.Module):
    """Layer norm before a module."""

    def __init__(self, width: int, module: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = module

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.fn(self.norm(x), *context)


class OwnAttention(nn.Module):
    """Self-attention of the query tokens."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, x: Float[Tensor, "batch query width"]) -> Float[Tensor, "batch query width"]:
        return self.to_out(_attend(self.heads, *self.to_qkv(x).chunk(3, dim=-1)))


class CrossAttention(nn.Module):
    """Attention of the query tokens to the image's tokens."""

    def __init__(self, width: int, context_width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_kv = nn.Linear(context_width, 2 * inner, bias=False)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(
        self, x: Float[Tensor, "batch query width"], context: Float[Tensor, "batch token context_width"]
    ) -> Float[Tensor, "batch query width"]:
        return self.to_out(_attend(self.heads, self.to_q(x), *self.to_kv(context).chunk(2, dim=-1)))


class FeedForward(nn.Module):
    """Two-layer perceptron of a decoder layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # The release has dropouts of probability 0 between, which its names count.
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width))

    def forward(self, x: Float[Tensor, "batch query width"]) -> Float[Tensor, "batch query width"]:
        return self.net(x)


def _attend(
    heads: int,
    q: Float[Tensor, "batch query inner"],
    k: Float[Tensor, "batch token inner"],
    v: Float[Tensor, "batch token inner"],
) -> Float[Tensor, "batch query inner"]:
    q_BHQD, k_BHND, v_BHND = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q_BHQD, k_BHND, v_BHND).transpose(1, 2).flatten(2)


class HMR2Regressor:
    """HMR2.0 as a `recon.regressors.body_regressor.BodyRegressor`; `body` is the one its weights were trained with."""

    crop_size = CROP_SIZE

    def __init__(
        self, network: HMR2, body: Body, device: str = "cpu", bf16: bool = False, compiled: bool = False
    ) -> None:
        """Move the network to `device` for inference.

        `bf16` rounds the backbone's matrices, in `network` itself, and what they multiply; sums along the residual
        stream, norms and the whole head stay in fp32. `compiled` runs torch.compile.
        """
        self.body, self.device, self.bf16 = body, torch.device(device), bf16
        self.network = network.to(self.device).eval().requires_grad_(False)
        if bf16:
            for module in network.backbone.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(torch.bfloat16)
        if compiled:
            self.network.compile()

    @torch.no_grad()
    def estimate(self, crops: UInt8[Tensor, "crop 256 256 3"]) -> CropEstimates:
        """Estimate SMPL parameters of 8-bit RGB crops, on the CPU; raises InputError when the network answers NaN."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            found = self.network(normalize(crops.to(self.device)))
        estimates = {field.name: getattr(found, field.name).cpu() for field in fields(found)}
        if not all(value.isfinite().all() for value in estimates.values()):
            raise InputError("the body network answers NaN, expected finite numbers: its weights are damaged")
        return CropEstimates(**estimates)


def normalize(crops: UInt8[Tensor, "crop 256 256 3"]) -> Float[Tensor, "crop 3 256 256"]:
    """Scale 8-bit colours to 0..1 and take out ImageNet's mean and standard deviation."""
    mean, std = (torch.tensor(values, device=crops.device)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (crops.permute(0, 3, 1, 2) / 255 - mean) / std


def load_hmr2(
    spec: str | Path = STAND_IN,
    smpl: str | Path | None = None,
    device: str = "cpu",
    bf16: bool = False,
    compiled: bool = False,
    sha256: str | None = None,
) -> HMR2Regressor:
    """Load the stand-in that ships ("hmr2_tiny"), the authors' `.ckpt`, or a `.safetensors` made of either.

    The authors' weights need SMPL's body, whose file `smpl` names; ours the default body. `sha256` is the checksum that
    the `.ckpt` must have; None skips the check. Raises InputError for a body that does not fit the weights.
    """
    if sha256 is not None and Path(spec).suffix != ".ckpt":
        raise InputError(f"a sha256 is given for {spec}, expected one for the authors' .ckpt alone")
    if Path(spec).suffix == ".ckpt":
        body = _body(spec, "smpl", smpl)
        network = read_official(Path(spec), sha256)
    else:
        shipped = ASSETS / f"{STAND_IN}.safetensors"
        network, body_name = read_network(shipped if str(spec) == STAND_IN else Path(spec))
        body = _body(spec, body_name, smpl)
    return HMR2Regressor(network, body, device, bf16, compiled)


def read_network(path: Path) -> tuple[HMR2, str]:
    """Read a network in our format and the name of its body; raises InputError for a file without its sizes."""
    weights = read_weights(path, FORMAT, MADE_BY)
    try:
        with torch.device("meta"):
            network = HMR2(HMR2Config(**weights.description["config"]))
        body_name = weights.description["body"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} does not say its sizes and its body, expected config and body: {error}") from error
    return weights.load_into(network).requires_grad_(False), body_name


def read_official(path: Path, sha256: str | None = None) -> HMR2:
    """Read the network from the authors' `.ckpt`, or from the `.safetensors` made of it the first time."""
    with torch.device("meta"):
        network = HMR2(OFFICIAL)
    decoder = {
        "depth": OFFICIAL.head_depth,
        "heads": OFFICIAL.head_heads,
        "mlp_dim": OFFICIAL.head_mlp,
        "dim_head": OFFICIAL.head_dim,
        "context_dim": OFFICIAL.width,
    }
    fill_official(network, path, {"config": asdict(OFFICIAL), "body": "smpl"}, decoder, sha256)
    return network.requires_grad_(False)


def _body(spec: str | Path, name: str, smpl: str | Path | None) -> Body:
    if name == "default":
        if smpl is not None:
            raise InputError(f"{spec} speaks of the default body, expected no SMPL file beside it but got {smpl}")
        return load_body("default")
    if smpl is None:
        raise InputError(f"{spec} speaks of SMPL's body, whose file is not given: {WHERE_TO_GET}")
    body = load_body(smpl)
    if body.name.split("-")[0] != "smpl":
        raise InputError(f"{spec} speaks of SMPL's body, expected a file of SMPL but {smpl} is of {body.name}")
    return body
