"""Amino acids from a backbone and from those that are known: a denoiser by message passing, as in ProteinMPNN.

    logits_i = f( coordinates, { x_j : j unmasked } ),        i masked

The encoder sees the backbone alone. In each decoder layer a residue hears of a neighbour j its amino acid and its
decoder state if x_j is known, and its encoder state if x_j is masked. ProteinMPNN decodes in a random order, where j is
heard if it came before i; here every unmasked residue is heard, whatever the order, so one pass denoises any partly
masked sequence. Where nothing or one residue is known, the two are the same function of the same weights
(`gendesign.models.protein_mpnn_weights`). No sampler reads the logits of unmasked residues, which have heard of
themselves.

Dauparas et al. 2022, Robust deep learning-based protein sequence design using ProteinMPNN, doi 10.1126/science.add2187.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.models.backbone_features import BackboneFeatures
from gendesign.models.base import TokenDenoiser
from gendesign.models.structure_layers import DecoderLayer, EncoderLayer, Graph

CONDITION = 14
"""Numbers a residue: N, CA, C, O in angstrom (NaN where missing), place along the chain, number of the chain."""

TOGETHER = 1200
"""Residues, of all sequences that are decoded together."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """What the encoder makes of E backbones; one (E = 1) may serve a whole batch.

    Attributes:
        nodes: residues.
        edges: to their neighbours.
        near: which these are.
        counted: which of them have coordinates.
        mask: residues with coordinates.
    """

    nodes: Float[Tensor, "E L W"]
    edges: Float[Tensor, "E L N W"]
    near: Int[Tensor, "E L N"]
    counted: Bool[Tensor, "E L N"]
    mask: Bool[Tensor, "E L"]

    @cached_property
    def graph(self) -> Graph:
        """The backbones as one graph."""
        num, length = self.mask.shape
        first = torch.arange(0, num * length, length, device=self.near.device)[:, None, None]
        near = (self.near + first).flatten(0, 1)
        return Graph(self.edges.flatten(0, 1), near, self.counted.flatten(0, 1), self.mask.flatten())


class StructureDenoiser(TokenDenoiser):
    """Structure-conditioned denoiser of sequences.

    Residues without all four atoms have no neighbours and are nobody's: their logits are one and the same prior.

    Args:
        vocab_size: K, the number of clean tokens.
        width: channels.
        encoder_depth: layers over the backbone.
        decoder_depth: layers over backbone and amino acids.
        neighbours: residues that a residue hears, itself included.
        dropout: probability of zeroing a part of an update in training.
        coordinate_noise: standard deviation of the noise on coordinates in training, in angstrom.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        vocab_size: int = 20,
        width: int = 128,
        *,
        encoder_depth: int = 3,
        decoder_depth: int = 3,
        neighbours: int = 48,
        dropout: float = 0.1,
        coordinate_noise: float = 0.0,
    ) -> None:
        super().__init__(vocab_size, width)
        if not 0 <= finite("dropout", dropout) < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.coordinate_noise = finite("coordinate_noise", coordinate_noise, at_least=0.0)
        self.features = BackboneFeatures(width, whole("neighbours", neighbours))
        self.W_e = nn.Linear(width, width)
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(width, dropout) for _ in range(whole("encoder_depth", encoder_depth))
        )
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(width, dropout) for _ in range(whole("decoder_depth", decoder_depth))
        )
        self.W_out = nn.Linear(width, vocab_size)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        with torch.no_grad():
            self.embedding[vocab_size].zero_()  # MASK says nothing

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Float[Tensor, "B ..."] | None = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L K"]:
        """Logits over the clean tokens; see `TokenDenoiser.forward`.

        Args:
            x: token ids, or relaxed one-hots.
            t: not read.
            cond: backbones, fourteen numbers a residue (`Structure.condition`): N, CA, C, O in angstrom, NaN where
                missing; place along the chain; number of the chain.
            mask: True at real positions.
        """
        if cond is None or cond.shape != (*x.shape[:2], CONDITION):
            found = "none" if cond is None else str(list(cond.shape))
            raise ConfigError(
                f"this network needs cond, backbones of shape {[*x.shape[:2], CONDITION]} "
                f"(Structure.condition(), one a row); got {found}"
            )
        return self.decode(x, self.encode(cond, mask))

    def encode(self, cond: Float[Tensor, "E L D"], mask: Bool[Tensor, "E L"] | None = None) -> Encoding:
        """What does not depend on amino acids.

        Args:
            cond: backbones, as in `forward`.
            mask: True at real positions.
        """
        backbone = cond[..., :12].unflatten(-1, (4, 3)).to(self.W_e.weight.dtype)
        known = backbone.isfinite().all(-1).all(-1)
        known = known if mask is None else known & mask
        backbone = torch.where(known[..., None, None], backbone, 0.0)
        if self.training and self.coordinate_noise:
            backbone = backbone + self.coordinate_noise * torch.randn_like(backbone)
        places = torch.where(known[..., None], cond[..., 12:], 0.0).round().long()
        edges, near, counted = self.features(backbone, places[..., 0], places[..., 1], known)
        edges = self.W_e(edges)
        nodes = edges.new_zeros(*known.shape, self.width)
        for layer in self.encoder_layers:
            nodes, edges = layer(nodes, edges, near, counted, known)
        return Encoding(nodes, edges, near, counted, known)

    def decode(
        self, x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"], encoding: Encoding
    ) -> Float[Tensor, "B L K"]:
        """Logits of partly masked sequences on encoded backbones, one a row or one for all."""
        graph = encoding.graph
        edges = [cast(DecoderLayer, layer).of_edges(graph.edges) for layer in self.decoder_layers]
        # few rows at a time stay in a processor's cache: twice as fast
        at_once = (
            len(x)
            if torch.is_grad_enabled() or x.is_cuda or len(encoding.nodes) > 1
            else TOGETHER // x.shape[1]
        )
        parts = [self._decode(part, encoding, graph, edges) for part in x.split(max(1, at_once))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _decode(self, x: Tensor, encoding: Encoding, graph: Graph, edges: list[Tensor]) -> Tensor:
        side_by_side = (len(encoding.nodes), -1, x.shape[1])

        def nodes(value: Float[Tensor, "B L W"]) -> Float[Tensor, "S R W"]:
            return value.unflatten(0, side_by_side[:2]).transpose(1, 2).flatten(0, 1)

        letters = nodes(self.embed(x))
        masked = x[..., -1:] if x.is_floating_point() else (x == self.vocab_size)[..., None]
        masked = nodes(masked.to(letters.dtype))
        alone = encoding.nodes.flatten(0, 1)[:, None]
        unseen = torch.cat([self.embedding[-1].expand_as(alone), alone], dim=-1)
        h = alone.expand(-1, letters.shape[1], -1)
        for layer, own in zip(self.decoder_layers, edges, strict=True):
            seen = torch.cat([letters, masked * alone + (1 - masked) * h], dim=-1)
            h = layer(h, seen, unseen, graph, own)
        logits: Tensor = self.W_out(h)
        return logits.unflatten(0, side_by_side[::2]).transpose(1, 2).flatten(0, 1)
