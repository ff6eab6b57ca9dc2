"""A backbone of sequences on any structure, bound to one: p(x | structure), which every steering method then works on.

    chance_i(a) = p(x_i = a | x_j for all j other than i, structure)        confidence_i = chance_i(x_i)

Dauparas et al. 2022, Robust deep learning-based protein sequence design using ProteinMPNN, doi 10.1126/science.add2187.
"""

from __future__ import annotations

from pathlib import Path

from gendesign.backbone import Backbone
from gendesign.errors import UnsupportedError
from gendesign.models.on_structure import OnStructure
from gendesign.models.structure_denoiser import StructureDenoiser
from gendesign.structure_codec import StructureCodec


def on_structure(
    backbone: Backbone, path: str, *, chain: str | None = None, guidance_scale: float = 1.0
) -> Backbone:
    """Bind a structure-conditioned backbone to a chain of a file.

    Args:
        backbone: trained on structures, such as `protein-inverse-folding`.
        path: PDB or mmCIF, plain or gzipped.
        chain: its letter; may be left out where one chain is a protein.
        guidance_scale: of classifier-free guidance toward the structure: 0 is p(x), 1 is p(x | structure), more goes
            further; other than 1 costs two network rows.

    Returns:
        A backbone of sequences of the chain's length; `codec.structure` is what was read, and
        `codec.structure.template(["10-20", "52A"])` a template that keeps residues by the file's own numbers.

    Raises:
        UnsupportedError: the backbone knows no structures, or never learned to do without one and shall be guided.
        DataError: the file cannot be read, or holds no protein.
        ConfigError: there is no such chain.
    """
    network = backbone.denoiser
    if not isinstance(network, StructureDenoiser):
        raise UnsupportedError(
            "this backbone takes no structure; protein-inverse-folding does, or train one on StructureDenoiser"
        )
    if guidance_scale != 1 and (backbone.conditioning is None or not backbone.conditioning.dropout):
        raise UnsupportedError(
            "this backbone never learned to do without its structure, so there is nothing to guide away from; leave "
            "guidance_scale out, or train with conditioning Brought"
        )
    codec = StructureCodec(str(Path(path).expanduser().resolve()), chain)  # found from any folder, once saved
    condition = codec.structure.condition().tolist()
    other = backbone.with_denoiser(
        OnStructure(network, condition, guidance_scale=guidance_scale),
        structure=codec.structure.name,
        chain=codec.structure.chain,
        guidance_scale=guidance_scale,
    )
    other.codec, other.conditioning = codec.of(other), None
    other.init_args |= {"codec": codec, "conditioning": None}
    return other
