"""Weights of published layout: a synthetic file gives what the paper's equations give, residue by residue."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from gendesign.errors import CheckpointError
from gendesign.models.backbone_features import PAIRS, ideal_cb
from gendesign.models.protein_mpnn_weights import load_protein_mpnn

WIDTH, NEIGHBOURS, L, K = 8, 5, 9, 20


def synthetic() -> dict[str, Tensor]:
    """Every tensor of the published layout: two layers each, narrow, random."""
    noise = torch.Generator().manual_seed(0)
    sizes: dict[str, tuple[int, ...]] = {
        "features.embeddings.linear": (16, 66), "features.edge_embedding": (WIDTH, 16 + 25 * 16), "W_e": (WIDTH, WIDTH),
        "W_s": (21, WIDTH), "W_out": (21, WIDTH),
    }  # fmt: skip
    norms = ["features.norm_edges"]
    for kind, joined, last in (("encoder", 3, 3), ("decoder", 4, 2)):
        for layer in range(2):
            base = f"{kind}_layers.{layer}"
            for name in ("W1", "W11")[: 1 + (kind == "encoder")]:
                sizes[f"{base}.{name}"] = (WIDTH, joined * WIDTH)
            for name in ("W2", "W3", "W12", "W13")[: 2 + 2 * (kind == "encoder")]:
                sizes[f"{base}.{name}"] = (WIDTH, WIDTH)
            sizes[f"{base}.dense.W_in"], sizes[f"{base}.dense.W_out"] = (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)
            norms += [f"{base}.norm{i + 1}" for i in range(last)]
    state = {}
    for name, shape in sizes.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=noise) / shape[-1] ** 0.5
        if name not in ("features.edge_embedding", "W_s"):
            state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=noise)
    for name in norms:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(WIDTH, generator=noise)
        state[f"{name}.bias"] = 0.1 * torch.randn(WIDTH, generator=noise)
    return state


def write(path: Path, state: dict[str, Tensor], **rest: Any) -> Path:
    torch.save(
        {"model_state_dict": state, "num_edges": NEIGHBOURS, "noise_level": 0.2, "step": 3} | rest, path
    )
    return path


def backbone() -> Tensor:
    noise = torch.Generator().manual_seed(1)
    ca = (3.8 * torch.nn.functional.normalize(torch.randn(L, 3, generator=noise), dim=-1)).cumsum(0)
    atoms = ca[:, None] + torch.randn(L, 4, 3, generator=noise)
    atoms[:, 1] = ca
    index = torch.tensor([0, 1, 2, 3, 7, 8, 9, 60, 61])[:, None]
    chain = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])[:, None]
    return torch.cat([atoms.flatten(1), index, chain], dim=1).double()


class Plain:
    """The paper's equations by loops over residues and neighbours, decoding known residues in a given order."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: value.double() for name, value in state.items()}

    def linear(self, name: str, v: Tensor) -> Tensor:
        bias = self.state.get(f"{name}.bias", torch.zeros(1, dtype=torch.float64))
        return self.state[f"{name}.weight"] @ v + bias

    def norm(self, name: str, v: Tensor) -> Tensor:
        return layer_norm(v, v.shape, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def mlp(self, base: str, names: tuple[str, str, str], v: Tensor) -> Tensor:
        first, second, third = (f"{base}.{name}" for name in names)
        return self.linear(third, gelu(self.linear(second, gelu(self.linear(first, v)))))

    def graph(self, cond: Tensor) -> dict[int, dict[int, Tensor]]:
        atoms = cond[:, :12].view(L, 4, 3)
        atoms = torch.cat([atoms, ideal_cb(atoms)[:, None]], dim=1)
        edges: dict[int, dict[int, Tensor]] = {}
        for i in range(L):
            nearest = sorted(range(L), key=lambda j: float((atoms[i, 1] - atoms[j, 1]).norm()))[:NEIGHBOURS]
            edges[i] = {}
            for j in nearest:
                same = cond[i, 13] == cond[j, 13]
                place = int((cond[i, 12] - cond[j, 12]).clamp(-32, 32)) + 32 if same else 65
                one_hot = torch.zeros(66, dtype=torch.float64)
                one_hot[place] = 1
                parts = [self.linear("features.embeddings.linear", one_hot)]
                for a, b in PAIRS:
                    distance = ((atoms[i, a] - atoms[j, b]).square().sum() + 1e-6).sqrt()
                    centres = torch.linspace(2, 22, 16, dtype=torch.float64)
                    parts.append(torch.exp(-(((distance - centres) / 1.25) ** 2)))
                edge = self.linear("features.edge_embedding", torch.cat(parts))
                edges[i][j] = self.linear("W_e", self.norm("features.norm_edges", edge))
        return edges

    def node(self, base: str, h: Tensor, messages: list[Tensor]) -> Tensor:
        h = self.norm(f"{base}.norm1", h + sum(messages) / 30)  # type: ignore[arg-type]
        dense = self.linear(f"{base}.dense.W_out", gelu(self.linear(f"{base}.dense.W_in", h)))
        return self.norm(f"{base}.norm2", h + dense)

    def logits(self, cond: Tensor, known: dict[int, int]) -> Tensor:
        """Known residues, first decoded first; the others hear of them, and nobody of the others."""
        edges = self.graph(cond)
        h = {i: torch.zeros(WIDTH, dtype=torch.float64) for i in range(L)}
        message, update = ("W1", "W2", "W3"), ("W11", "W12", "W13")
        for layer in range(2):
            base = f"encoder_layers.{layer}"
            h = {
                i: self.node(
                    base,
                    h[i],
                    [self.mlp(base, message, torch.cat([h[i], e, h[j]])) for j, e in edges[i].items()],
                )
                for i in range(L)
            }
            edges = {
                i: {j: self.norm(f"{base}.norm3", e + self.mlp(base, update, torch.cat([h[i], e, h[j]])))
                    for j, e in edges[i].items()}
                for i in range(L)
            }  # fmt: skip
        encoded, order = dict(h), list(known)
        nothing = torch.zeros(WIDTH, dtype=torch.float64)
        for layer in range(2):
            base, new = f"decoder_layers.{layer}", {}
            for i in range(L):
                before = order[: order.index(i)] if i in known else order
                joined = [
                    torch.cat([h[i], e, self.state["W_s.weight"][known[j]], h[j]])
                    if j in before
                    else torch.cat([h[i], e, nothing, encoded[j]])
                    for j, e in edges[i].items()
                ]
                new[i] = self.node(base, h[i], [self.mlp(base, message, v) for v in joined])
            h = new
        return torch.stack([self.linear("W_out", h[i]) for i in range(L)])[:, :K]


def tokens(known: dict[int, int]) -> Tensor:
    return torch.tensor([[known.get(i, K) for i in range(L)]])


@pytest.mark.parametrize("known", [{}, {4: 7}, {0: 19}])
def test_a_file_of_published_layout_gives_the_published_function(
    tmp_path: Path, known: dict[int, int]
) -> None:
    state, cond = synthetic(), backbone()
    made = load_protein_mpnn(write(tmp_path / "v_48.pt", state)).double()
    masked = torch.tensor([i not in known for i in range(L)])
    found = made(tokens(known), cond=cond[None])[0]
    torch.testing.assert_close(found[masked], Plain(state).logits(cond, known)[masked], atol=1e-9, rtol=1e-9)
    assert not any(parameter.requires_grad for parameter in made.parameters()) and not made.training


def test_with_two_residues_known_the_order_matters_there_and_not_here(tmp_path: Path) -> None:
    state, cond = synthetic(), backbone()
    made = load_protein_mpnn(write(tmp_path / "v_48.pt", state)).double()
    masked = torch.tensor([i not in (4, 5) for i in range(L)])
    one, other = (Plain(state).logits(cond, known)[masked] for known in ({4: 7, 5: 2}, {5: 2, 4: 7}))
    found = made(tokens({4: 7, 5: 2}), cond=cond[None])[0][masked]
    scale = (one - Plain(state).logits(cond, {})[masked]).abs().max()
    assert 1e-6 < (one - other).abs().max() < scale and (found - one).abs().max() < scale


def test_safetensors_and_another_number_of_neighbours(tmp_path: Path) -> None:
    save_file(synthetic(), tmp_path / "v.safetensors")
    made = load_protein_mpnn(tmp_path / "v.safetensors")
    assert made.features.neighbours == 48 and made.width == WIDTH
    assert load_protein_mpnn(tmp_path / "v.safetensors", neighbours=3).features.neighbours == 3


def test_what_is_no_such_file(tmp_path: Path) -> None:
    state = synthetic()
    lacking = {name: value for name, value in state.items() if name != "encoder_layers.1.W13.weight"}
    narrow = state | {"W_e.weight": torch.zeros(3, 3)}
    few = state | {"W_s.weight": torch.zeros(5, WIDTH)}
    for other, message in (
        (lacking, r"missing encoder_layers\.1\.W13\.weight, unknown nothing"),
        (state | {"extra": torch.zeros(1)}, "unknown extra"),
        (narrow, r"W_e.weight has shape \[3, 3\]"),
        (few, "got 5 tokens"),
        (state | {"W_v.weight": torch.zeros(1)}, "CA-only"),
        ({"a": torch.zeros(1)}, "expected ProteinMPNN's weights .* got a"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_protein_mpnn(write(tmp_path / "bad.pt", other))
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("nothing")
    for name, message in (
        ("list.pt", "got a list"),
        ("text.pt", "cannot read"),
        ("absent.pt", "cannot read"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_protein_mpnn(tmp_path / name)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": Evil()}, "evil.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_protein_mpnn("evil.pt")
    assert not Path("ran").exists()
