"""Protein language models of Hugging Face as a reward: how natural a sequence looks to one.

    pseudo-log-likelihood    r(x) = 1/L sum_i log p(x_i | x without i)      each residue masked in turn, L network rows
    one pass                 r(x) = 1/L sum_i log p(x_i | x)                nothing masked, one row, an approximation

in nats a residue, p renormalised over the twenty amino acids. Relaxed sequences enter as mixtures of the model's own
input embeddings, so gradients reach them; `score` takes the same way, and the two agree. Any masked language model with
one token a residue works (ESM-2, ESM-1b, ProtBERT), by the name of a repository or a folder; weights are read from
safetensors only, and no code of a repository is run. As a file for `reward=my_reward.yaml`:

    class_path: gendesign.rewards.ProteinLanguageModel
    init_args: {model: facebook/esm2_t6_8M_UR50D}

References: Salazar et al. 2020, Masked language model scoring, arXiv 1910.14659; Rives et al. 2021, Biological
structure and function emerge from scaling unsupervised learning to 250 million protein sequences,
doi 10.1073/pnas.2016239118; Lin et al. 2023, Evolutionary-scale prediction of atomic-level protein structure with a
language model, doi 10.1126/science.ade2574.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gendesign.building import whole
from gendesign.designs import Design
from gendesign.errors import CheckpointError, ConfigError, MissingExtraError, UnsupportedError
from gendesign.rewards.base import DifferentiableReward
from gendesign.rewards.protein import AMINO_ACIDS, ProteinReward, not_protein


class ProteinLanguageModel(ProteinReward, DifferentiableReward):
    """Mean log-probability of a residue under a masked language model, in nats.

    Args:
        model: a repository of the Hugging Face hub, such as `facebook/esm2_t6_8M_UR50D`, or a folder.
        one_pass: read all residues from one pass with nothing masked: L times cheaper, and too sure of what it sees.
        batch_size: network rows a forward pass.
        max_length: longer designs are INVALID; the model's own bound where left out.
        revision: commit or tag of the repository.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: the model cannot be loaded.
        ConfigError: it has no mask token, or no token of its own for an amino acid.
    """

    unit = "nats a residue"

    def __init__(
        self,
        model: str,
        *,
        one_pass: bool = False,
        batch_size: int = 64,
        max_length: int | None = None,
        revision: str | None = None,
    ) -> None:
        self.network, tokenizer = _load(model, revision)
        self.one_pass = bool(one_pass)
        self.batch_size = whole("batch_size", batch_size)
        self.mask_id = tokenizer.mask_token_id
        ids = tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))
        lacking = [
            a for a, i in zip(AMINO_ACIDS, ids, strict=True) if i is None or i == tokenizer.unk_token_id
        ]
        if self.mask_id is None or lacking:
            raise ConfigError(
                f"{model} is no masked language model over amino acids: it lacks a token for "
                f"{', '.join(lacking) or 'masks'}"
            )
        self.letters: Int[Tensor, " 20"] = torch.tensor(ids)
        dressed = tokenizer(tokenizer.mask_token)[
            "input_ids"
        ]  # with what the model was trained to see around it
        place = dressed.index(self.mask_id)
        self.before, self.after = dressed[:place], dressed[place + 1 :]
        self.max_length = _bound(self.network.config, len(dressed) - 1, max_length)
        self.name = f"{Path(model).name} likelihood"
        self.source = model
        self.trained_on = f"what {model} was trained on"

    def unreadable(self, design: Design) -> str:
        reason = not_protein(design)
        if reason or self.max_length is None or len(design) <= self.max_length:
            return reason
        return f"expected at most {self.max_length} residues, got {len(design)}"

    @torch.no_grad()
    def score(self, designs: Sequence[str]) -> npt.NDArray[np.float64]:
        rows: dict[int, list[int]] = defaultdict(list)
        for row, design in enumerate(designs):
            rows[len(design)].append(row)  # equal lengths together: no padding
        values = np.empty(len(designs))
        for chosen in rows.values():
            ids = torch.tensor([[AMINO_ACIDS.index(a) for a in designs[row]] for row in chosen])
            x = torch.nn.functional.one_hot(ids, len(AMINO_ACIDS)).float()
            values[chosen] = self._likelihood(x).double().cpu().numpy()
        return values

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        if x.shape[-1] != len(AMINO_ACIDS):
            raise UnsupportedError(
                f"reward {self.label!r} takes relaxed designs of fixed length over {len(AMINO_ACIDS)} amino acids, "
                f"got {x.shape[-1]} tokens"
            )
        return self._likelihood(x)

    def to(self, device: str | torch.device) -> ProteinLanguageModel:
        self.network.to(device)
        return self

    def _likelihood(self, x: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        batch, length = x.shape[:2]
        table = self.network.get_input_embeddings().weight
        x = x.to(table.device, table.dtype)
        if self.one_pass:
            parts = [(self._log_probs(part, None) * part).sum((1, 2)) for part in x.split(self.batch_size)]
            return torch.cat(parts) / length
        row = torch.arange(batch, device=x.device).repeat_interleave(length)
        place = torch.arange(length, device=x.device).repeat(batch)
        each = []
        for own, here in zip(row.split(self.batch_size), place.split(self.batch_size), strict=True):
            log_probs = self._log_probs(x[own], here)
            index = torch.arange(len(own), device=x.device)
            each.append((log_probs[index, here] * x[own, here]).sum(-1))
        return torch.cat(each).view(batch, length).mean(-1)

    def _log_probs(
        self, x: Float[Tensor, "B L 20"], masked: Int[Tensor, " B"] | None
    ) -> Float[Tensor, "B L 20"]:
        """Log-probabilities of the amino acids, one position of each sequence masked or none.

        Models differ in what they add to embeddings, and in whether they add it to embeddings that they are given. So
        they are given token ids, and what their table answers is exchanged for the mixture of its rows.
        """
        table = self.network.get_input_embeddings()
        letters = self.letters.to(x.device)
        residues = letters[x.detach().argmax(-1)]
        mixture = x @ table.weight[letters]
        if masked is not None:
            here = torch.nn.functional.one_hot(masked, x.shape[1]).bool()
            residues = torch.where(here, self.mask_id, residues)
            mixture = torch.where(here[..., None], table.weight[self.mask_id], mixture)
        first, last = (residues.new_tensor(end).expand(len(x), -1) for end in (self.before, self.after))
        ids = torch.cat([first, residues, last], dim=1)
        own = slice(len(self.before), len(self.before) + x.shape[1])

        def exchange(module: torch.nn.Module, given: Any, answer: Tensor) -> Tensor:
            return torch.cat([answer[:, : own.start], mixture, answer[:, own.stop :]], dim=1)

        hook = table.register_forward_hook(exchange)
        try:
            logits = self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        finally:
            hook.remove()
        return logits[:, own][..., letters].log_softmax(-1)


def _load(model: str, revision: str | None) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "plm") from error
    where = {"revision": revision} if revision else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False, **where)
        network = transformers.AutoModelForMaskedLM.from_pretrained(
            model, trust_remote_code=False, use_safetensors=True, **where
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot load the language model {model}: expected a masked language model of transformers with "
            f"safetensors weights ({' '.join(str(error).split())[:200]})"
        ) from error
    return network.eval().requires_grad_(False), tokenizer


def _bound(config: Any, special: int, wanted: int | None) -> int | None:
    """Residues that fit the model's position table; None where positions are not tabulated."""
    if wanted is not None:
        return whole("max_length", wanted)
    if getattr(config, "position_embedding_type", "absolute") == "rotary":
        return None
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return None
    # models of the RoBERTa family number positions from after the padding token's
    shifted = config.model_type in ("esm", "roberta", "xlm-roberta")
    return int(positions) - special - ((config.pad_token_id or 0) + 1 if shifted else 0)
