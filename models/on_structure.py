"""A structure-conditioned denoiser bound to one backbone, which is encoded once.

    f(x) = decode(x, encode(backbone))
    log p_w(x_0 | x_t)  ∝  log p(x_0 | x_t) + w (log p(x_0 | x_t, backbone) - log p(x_0 | x_t))

The second line is classifier-free guidance (`gendesign.models.conditioned`), for networks that learned to do without a
backbone: w = 1, the usual, asks once, any other w twice. So that designing on a structure is sampling an ordinary
unconditional backbone, and every steering method works on it:

    structure = gd.read_structure("x.pdb", chain="A")
    denoiser = OnStructure(load_protein_mpnn("weights.pt"), structure.condition().tolist())
    backbone = Backbone(gd.ProteinCodec(len(structure)), gd.MaskedDiffusion(20), denoiser)
    run = gd.design(backbone, reward, gd.SVDD(alpha=0.1), template=structure.template(["10-20", "52A"]))
    Path("design.pdb").write_text(threaded_pdb(structure, run.designs[0]))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser
from gendesign.models.conditioned import guided
from gendesign.models.structure_denoiser import CONDITION, Encoding, StructureDenoiser


class OnStructure(Denoiser):
    """Sequences for one backbone.

    Args:
        denoiser: of sequences on any backbone.
        condition: the backbone, L rows of fourteen numbers (`Structure.condition`).
        guidance_scale: w.

    Raises:
        ConfigError: the backbone has another shape, or no residue with all atoms; the scale is not finite.
    """

    condition: Tensor

    def __init__(
        self,
        denoiser: StructureDenoiser,
        condition: Sequence[Sequence[float]],
        *,
        guidance_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.scale = finite("guidance_scale", guidance_scale)
        self.rows_per_design = 1 if self.scale == 1 else 2
        self.vocab_size, self.time_conditioned = denoiser.vocab_size, False
        table = torch.tensor([list(row) for row in condition], dtype=torch.get_default_dtype())
        if table.ndim != 2 or table.shape[-1] != CONDITION or not table[:, :12].isfinite().all(-1).any():
            raise ConfigError(
                f"expected a backbone of {CONDITION} numbers a residue, some of them with all atoms; got shape "
                f"{list(table.shape)}"
            )
        self.register_buffer("condition", table)
        self._kept: tuple[tuple[Any, ...], tuple[Encoding, Encoding | None]] | None = None

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L K"]:
        """Logits over the clean tokens.

        Raises:
            ConfigError: sequences of another length, another `cond`, or padding.
        """
        if cond is not None or (mask is not None and not bool(mask.all())):
            raise ConfigError(
                "this denoiser is bound to one backbone and takes neither another cond nor padding"
            )
        if x.shape[1] != len(self.condition):
            raise ConfigError(f"the backbone has {len(self.condition)} residues, the sequences {x.shape[1]}")
        given, free = self._encodings()
        logits = self.denoiser.decode(x, given)
        if free is None:
            return logits
        without = self.denoiser.decode(x, free).double().log_softmax(-1)
        return guided(logits.double().log_softmax(-1), without, self.scale)

    def _encodings(self) -> tuple[Encoding, Encoding | None]:
        """With the backbone and, where guidance needs it, without; kept as long as nothing changes them."""
        if self.training or any(parameter.requires_grad for parameter in self.denoiser.parameters()):
            self._kept = None
            return self._encoded()
        kind = self.condition.device.type
        # what was encoded in half precision serves no one else
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        state = (
            half,
            *(
                (value.data_ptr(), value.dtype, 0 if value.is_inference() else value._version)
                for value in (self.condition, *self.denoiser.parameters())
            ),
        )
        if self._kept is None or self._kept[0] != state:
            # what is kept must serve gradients later, even if it is first asked for in inference mode
            with torch.inference_mode(False), torch.no_grad():
                self._kept = state, self._encoded()
                for encoding in filter(None, self._kept[1]):
                    _ = encoding.graph.itself  # kept there, too
        return self._kept[1]

    def _encoded(self) -> tuple[Encoding, Encoding | None]:
        given = self.condition[None]
        free = None if self.scale == 1 else self.denoiser.encode(torch.full_like(given, torch.nan))
        return self.denoiser.encode(given), free
