"""Weights in the format that ProteinMPNN is published in, as a `StructureDenoiser`.

A file is what `torch.save` wrote of {"model_state_dict": ..., "num_edges": k, "noise_level": ...}, or safetensors of
the state alone. It is read with weights_only=True: no code in it is run. The models of full backbones are meant; sizes
are read from the file, models of CA alone are refused.

What is known of the result: names, shapes and order of features follow the published source, and a synthetic file of
that layout gives the logits that the paper's equations give, with no residue known or one. Real weights were never
loaded where this was written. With two or more residues known, ProteinMPNN's answer depends on the order in which it
decodes them and ours does not: recovery and perplexity may differ from published figures, and should be measured anew.
The token X of unknown residues is left out. ProteinMPNN pads short chains with neighbours that its decoder hears; here
padding and residues without coordinates are never heard.

Dauparas et al. 2022, Robust deep learning-based protein sequence design using ProteinMPNN, doi 10.1126/science.add2187.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendesign.errors import CheckpointError
from gendesign.models.structure_denoiser import StructureDenoiser

NUM_LETTERS = 20
"""Amino acids in the alphabetical order of their letters; the 21st token, X, comes after them."""


def load_protein_mpnn(path: str | Path, *, neighbours: int | None = None) -> StructureDenoiser:
    """Load a file of published format.

    Args:
        path: the file.
        neighbours: residues that a residue hears; the file's `num_edges` where left out, 48 where it has none.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    file = Path(path).expanduser()
    content = _read(file)
    state = content.get("model_state_dict", content)
    if any(name.startswith(("W_v.", "features.node_embedding")) for name in state):
        raise CheckpointError(f"{file}: weights of a CA-only model; a model of full backbones is needed")
    if not all(name in state for name in ("W_s.weight", "W_out.weight", "W_out.bias")):
        raise CheckpointError(
            f"{file}: expected ProteinMPNN's weights (W_s, W_out, encoder_layers, ...), got {_some(list(state))}"
        )
    tokens, width = state["W_s.weight"].shape
    depths = [_depth(state, kind) for kind in ("encoder_layers", "decoder_layers")]
    if tokens != NUM_LETTERS + 1 or min(depths) < 1:
        raise CheckpointError(
            f"{file}: expected {NUM_LETTERS + 1} tokens and encoder and decoder layers, got {tokens} tokens, "
            f"{depths[0]} and {depths[1]} layers"
        )
    k = neighbours if neighbours is not None else int(content.get("num_edges", 48))
    denoiser = StructureDenoiser(
        NUM_LETTERS, width, encoder_depth=depths[0], decoder_depth=depths[1], neighbours=k
    )
    given = {name: value for name, value in state.items() if name != "W_s.weight"}
    for name in ("W_out.weight", "W_out.bias"):
        given[name] = given[name][:NUM_LETTERS]
    letters = state["W_s.weight"][:NUM_LETTERS]
    given["embedding"] = torch.cat([letters, torch.zeros_like(letters[:1])])  # a masked residue says nothing
    _check(file, given, denoiser.state_dict())
    denoiser.load_state_dict(given)
    return denoiser.eval().requires_grad_(False)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"cannot read the weights {file}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected ProteinMPNN's weights, got a {type(content).__name__}")
    return content


def _depth(state: dict[str, Tensor], kind: str) -> int:
    return len({match[1] for name in state if (match := re.match(rf"{kind}\.(\d+)\.", name))})


def _check(file: Path, given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing, foreign = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or foreign:
        raise CheckpointError(
            f"{file}: not the layout of ProteinMPNN's full-backbone weights; missing {_some(missing)}, "
            f"unknown {_some(foreign)}"
        )
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            raise CheckpointError(
                f"{file}: {name} has shape {list(given[name].shape)}, expected {list(value.shape)}"
            )


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (", ..." if len(names) > 3 else "")) or "nothing"
