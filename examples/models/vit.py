"""Vision transformer, size Ti/16: A. Dosovitskiy et al., arXiv:2010.11929; arXiv:2106.10270."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

Norm = partial(nn.LayerNorm, eps=1e-6)


class Attention(nn.Module):
    """Multi-head self-attention, with the parameter names of nn.MultiheadAttention.

    `fused` calls torch's scaled_dot_product_attention, which is the same arithmetic.
    """

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, tokens, width] to the same shape."""
        tokens, width = x.shape[1:]
        share = width // self.heads
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        parts = joint.reshape(-1, tokens, 3, self.heads, share).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            scores = (query * share**-0.5) @ key.transpose(-2, -1)
            mixed = scores.softmax(-1) @ value
        return self.out_proj(mixed.transpose(1, 2).reshape(-1, tokens, width))


class EncoderBlock(nn.Module):
    """Attention and two dense layers, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.ln_1 = Norm(width)
        self.self_attention = Attention(width, heads, fused)
        self.ln_2 = Norm(width)
        # The dropouts are where torchvision has them: its names count them.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(4 * width, width),
            nn.Dropout(0.0),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, tokens, width] to the same shape."""
        x = x + self.self_attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Positions added, then the blocks."""

    def __init__(self, tokens: int, depth: int, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        names = (f"encoder_layer_{index}" for index in range(depth))
        blocks = (EncoderBlock(width, heads, fused) for _ in range(depth))
        self.layers = nn.Sequential(OrderedDict(zip(names, blocks, strict=True)))
        self.ln = Norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, tokens, width] to the same shape."""
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    """[N, 3, image, image] to [N, num_classes]."""

    def __init__(
        self,
        num_classes: int = 1000,
        image: int = 224,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.conv_proj = nn.Conv2d(3, width, 16, 16)
        self.encoder = Encoder((image // 16) ** 2 + 1, depth, width, heads, fused)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, num_classes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, image, image] to [N, num_classes]."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(x.shape[0], -1, -1)
        return self.heads(self.encoder(torch.cat([token, patches], 1))[:, 0])


def vit_tiny(
    num_classes: int = 1000,
    image: int = 224,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    fused: bool = False,
) -> nn.Module:
    """ViT-Ti/16; 5.7 million parameters."""
    return VisionTransformer(num_classes, image, width, depth, heads, fused)
