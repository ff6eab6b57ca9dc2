"""The structure-conditioned denoiser: what may and what may not change its logits, and that it designs."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.errors import ConfigError
from gendesign.loading import load_backbone
from gendesign.models.backbone_features import PAIRS, BackboneFeatures
from gendesign.models.on_structure import OnStructure
from gendesign.models.structure_denoiser import TOGETHER, StructureDenoiser
from gendesign.rewards import GRAVY

K, L = 20, 12


def backbones(num: int = 2, length: int = L, seed: int = 0) -> Tensor:
    """Random chains: CA 3.8 angstrom apart, the other atoms about it; places along the chain, one chain."""
    noise = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=noise)

    ca = (3.8 * functional.normalize(normal(num, length, 3), dim=-1)).cumsum(1)
    atoms = ca[:, :, None] + 1.2 * functional.normalize(normal(num, length, 4, 3), dim=-1)
    atoms[:, :, 1] = ca
    places = torch.arange(length, dtype=torch.float64).expand(num, -1)[..., None]
    return torch.cat([atoms.flatten(2), places, torch.zeros_like(places)], dim=-1)


def network(**settings: int) -> StructureDenoiser:
    """A small network in double precision, away from its start, that hears less than everybody."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = StructureDenoiser(
            K, 16, **{"encoder_depth": 2, "decoder_depth": 2, "neighbours": 6, **settings}
        )
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.double().eval()


def ids(batch: int = 2, length: int = L) -> Tensor:
    return torch.randint(0, K + 1, (batch, length), generator=torch.Generator().manual_seed(3))


def moved(cond: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    atoms = cond[..., :12].unflatten(-1, (4, 3)) @ matrix.T + shift
    return torch.cat([atoms.flatten(-2), cond[..., 12:]], dim=-1)


def close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, atol=1e-9, rtol=1e-9))


def test_every_pair_of_the_five_atoms_is_there_once() -> None:
    assert sorted(PAIRS) == [(a, b) for a in range(5) for b in range(5)]


def test_turning_and_moving_change_nothing_and_mirroring_does() -> None:
    made, cond, x = network(), backbones(), ids()
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))
    rotation = q * torch.det(q)
    plain = made(x, cond=cond)
    assert plain.shape == (2, L, K)
    assert close(made(x, cond=moved(cond, rotation, torch.tensor([10.0, -50.0, 7.0]).double())), plain)
    assert not close(made(x, cond=moved(cond, -rotation, torch.zeros(3).double())), plain)


def test_numbering_of_residues_and_chains_changes_nothing_but_distances_along_the_chain_do() -> None:
    made, cond, x = network(), backbones(), ids()
    plain = made(x, cond=cond)
    other = cond.clone()
    other[..., 12] += 730
    other[..., 13] += 4
    assert close(made(x, cond=other), plain)
    gap = cond.clone()
    gap[:, L // 2 :, 12] += 5
    assert not close(made(x, cond=gap), plain)
    far, farther = (gap.index_put((torch.tensor([0]),), gap[0]) for _ in range(2))
    far[:, L // 2 :, 12] += 100
    farther[:, L // 2 :, 12] += 1000
    assert close(made(x, cond=far), made(x, cond=farther))  # beyond 32 residues are one
    two = cond.clone()
    two[:, L // 2 :, 13] = 1
    assert not close(made(x, cond=two), plain)
    shifted = two.clone()
    shifted[:, L // 2 :, 12] += 9  # what separates chains has no length
    assert close(made(x, cond=shifted), made(x, cond=two))


def test_order_of_the_residues_is_no_matter() -> None:
    made, cond, x = network(), backbones(), ids()
    order = torch.randperm(L, generator=torch.Generator().manual_seed(0))
    assert close(made(x[:, order], cond=cond[:, order]), made(x, cond=cond)[:, order])


def test_rows_do_not_influence_each_other() -> None:
    made, cond, x = network(), backbones(), ids()
    assert close(made(x[[1, 0]], cond=cond[[1, 0]]), made(x, cond=cond)[[1, 0]])


@pytest.mark.parametrize("length", [3, 8])
def test_padding_does_not_influence_real_positions(length: int) -> None:
    """Three residues are fewer than a residue hears."""
    made, cond, x = network(), backbones(), ids()
    mask = (torch.arange(L) < length).expand(2, L)
    short = made(x[:, :length], cond=cond[:, :length])
    assert close(made(x, cond=cond, mask=mask)[:, :length], short)
    padded = torch.where(mask[..., None], cond, torch.nan)
    other = torch.where(mask, x, (x + 1) % K)
    assert close(made(other, cond=padded, mask=mask)[:, :length], short)


def test_residues_with_missing_atoms_are_not_heard_and_get_the_prior() -> None:
    made, cond, x = network(), backbones(), ids()
    gone = cond.clone()
    gone[:, 4, 9:12] = torch.nan
    logits = made(x, cond=gone)
    assert logits.isfinite().all()
    rest = torch.arange(L) != 4
    assert close(logits[:, rest], made(x[:, rest], cond=cond[:, rest]))
    assert close(logits[:, 4], made.W_out.bias.expand(2, -1))


def test_known_amino_acids_are_heard_from_both_sides_and_masked_ones_of_nobody() -> None:
    made, cond = network(neighbours=L), backbones(1)
    x = torch.full((1, L), K)
    plain = made(x, cond=cond)
    for place in (0, L - 1):
        changed = made(x.index_put((torch.tensor(0), torch.tensor(place)), torch.tensor(7)), cond=cond)
        others = torch.arange(L) != place
        assert ((changed - plain)[0, others].abs().amax(-1) > 1e-6).all()


def test_many_sequences_on_one_backbone_are_decoded_a_few_at_a_time() -> None:
    made, cond, x = network(), backbones(1), ids(TOGETHER // L + 3)
    cond[:, 3, :3] = torch.nan
    plain = torch.cat([made(x[i : i + 1], cond=cond) for i in range(len(x))])
    encoding = made.encode(cond)
    assert close(made.decode(x, encoding), plain)  # at once, as gradients want it
    with torch.no_grad():
        assert close(made.decode(x, encoding), plain)


@pytest.mark.whole
def test_relaxed_one_hots_give_the_logits_of_ids_and_gradients_flow() -> None:
    made, cond, x = network(), backbones(), ids()
    relaxed = functional.one_hot(x, K + 1).double()
    assert close(made(relaxed, cond=cond), made(x, cond=cond))
    soft = torch.rand(1, 4, K + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).softmax(
        -1
    )
    few = backbones(1, 4)
    assert torch.autograd.gradcheck(lambda y: made(y, cond=few).sum(-1), soft.requires_grad_(), atol=1e-6)


def test_all_parameters_learn_and_noise_is_for_training() -> None:
    made, cond, x = network(), backbones(), ids()
    made(x, cond=cond).square().sum().backward()
    for name, parameter in made.named_parameters():
        # the last edges are the decoder's; nothing reads an amino acid that does not occur
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    noisy = build(
        describe(made)
        | {"init_args": describe(made)["init_args"] | {"coordinate_noise": 0.1, "dropout": 0.0}}
    )
    noisy = noisy.double()
    assert close(noisy.eval()(x, cond=cond), noisy(x, cond=cond))
    assert not close(noisy.train()(x, cond=cond), noisy(x, cond=cond))


def test_one_backbone_for_all_rows_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, cond, x = network(), backbones(1), ids(5)
    bound = OnStructure(made, cond[0].tolist()).double().eval()
    bound.condition.copy_(cond[0])
    expected = made(x, cond=cond.expand(5, -1, -1))
    calls: list[int] = []
    plain = BackboneFeatures.forward
    monkeypatch.setattr(BackboneFeatures, "forward", lambda *a: calls.append(1) or plain(*a))
    assert close(bound(x), expected) and close(bound(x), expected) and len(calls) == 2  # it may still learn
    bound.requires_grad_(False)
    assert close(bound(x), expected) and close(bound(x[:2]), expected[:2]) and len(calls) == 3
    other = {name: value * 1.5 for name, value in made.state_dict().items()}
    made.load_state_dict(other)
    assert close(bound(x), made(x, cond=cond.expand(5, -1, -1))) and not close(bound(x), expected)
    bound.condition.add_(torch.randn(L, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert close(bound(x), made(x, cond=bound.condition.expand(5, -1, -1)))


def test_what_was_encoded_in_inference_mode_serves_gradients_later() -> None:
    made, x = network(), ids()
    bound = OnStructure(made, backbones(1)[0].tolist(), guidance_scale=2.0).double().eval()
    bound.requires_grad_(False)
    with torch.inference_mode():
        expected = bound(x)
    soft = functional.one_hot(x, K + 1).double().requires_grad_()
    found = bound(soft)
    assert close(found.detach(), expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), soft)
    assert bool(gradient.isfinite().all()) and bool(gradient.any())


def test_a_bound_backbone_designs_is_saved_and_read(tmp_path: object) -> None:
    cond = backbones(1, 6)[0]
    cond[2, 3:6] = math.nan
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = OnStructure(StructureDenoiser(K, 8, encoder_depth=1, decoder_depth=1), cond.tolist())
    backbone = Backbone(gd.ProteinCodec(6), gd.MaskedDiffusion(K), denoiser).eval().requires_grad_(False)
    backbone.save_pretrained(f"{tmp_path}/saved")
    again = load_backbone(f"{tmp_path}/saved")
    x = ids(3, 6)
    torch.testing.assert_close(again.denoiser(x), denoiser(x))
    run = gd.design(
        again, GRAVY(), gd.SVDD(candidates=3, alpha=0.1), num_designs=4, steps=6, seed=0, template="MK****"
    )
    assert all(len(design) == 6 and design.startswith("MK") for design in run.designs)


def errors() -> Iterator[tuple[object, str]]:
    made, cond = network(), backbones()
    bound = OnStructure(network(), cond[0].tolist()).double()
    yield lambda: made(ids()), "needs cond"
    yield lambda: made(ids(), cond=cond[..., :12]), "needs cond"
    yield lambda: made(ids(), cond=cond[:, :5]), "needs cond"
    yield lambda: bound(ids(2, 5)), "12 residues, the sequences 5"
    yield lambda: bound(ids(), cond=cond), "bound to one backbone"
    yield lambda: bound(ids(), mask=torch.zeros(2, L, dtype=torch.bool)), "bound to one backbone"
    yield lambda: OnStructure(made, [[0.0] * 12]), "14 numbers"
    yield lambda: OnStructure(made, [[math.nan] * 14]), "some of them"
    yield lambda: StructureDenoiser(K, 16, dropout=1.0), "dropout"
    yield lambda: StructureDenoiser(K, 16, neighbours=0), "neighbours"
    yield lambda: StructureDenoiser(K, 16, decoder_depth=0), "decoder_depth"


@pytest.mark.parametrize("case", range(11))
def test_errors(case: int) -> None:
    call, message = list(errors())[case]
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]
