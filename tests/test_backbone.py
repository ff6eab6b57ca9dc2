"""A backbone: its figures against exact ones, its folder, and what is refused when it is loaded."""

import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

import gendesign.loading
from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec, RNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.schedules import Cosine
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import CheckpointError, ConfigError, DesignError, OutputError, TrustError
from gendesign.loading import list_backbones, load_backbone
from gendesign.models.base import TokenDenoiser
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.pretrained import card_line, find_pretrained
from gendesign.steering.drakes import DRAKES


class Fixed(TokenDenoiser):
    """The exact denoiser of independent positions: p = (.4, .3, .2, .1) everywhere."""

    def __init__(self, vocab_size: int = 4) -> None:
        super().__init__(vocab_size, 2)

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Tensor | None = None, mask: Tensor | None = None
    ) -> Float[Tensor, "B L K"]:
        return torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(*x.shape[:2], 4)


def make(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    network = DilatedConvDenoiser(4, 8, depth=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Backbone(
        DNACodec(6), MaskedDiffusion(4, schedule=Cosine(), unmasking=FirstHitting()), network
    ).eval()


def numbers() -> Backbone:
    """Of more coordinates than an exact trace is taken of."""
    torch.manual_seed(0)
    network = MLPNetwork(9, 8, depth=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    codec = VectorCodec([f"x{i}" for i in range(9)], mean=[0] * 9, std=[1] * 9)
    return Backbone(codec, PoissonFlow(), Preconditioned(network)).eval()


@pytest.mark.parametrize("backbone", [make(), numbers()], ids=["masked", "continuous"])
def test_a_likelihood_may_depend_on_its_design_alone(backbone: Backbone) -> None:
    """With the same noise for every design, whatever stands beside it and however calls are split."""
    x = backbone.codec.encode(backbone.sample(5, steps=4))

    def nats(rows: Tensor, *, alike: bool = True, max_rows: int = 1024) -> Tensor:
        process, noise = backbone.process, torch.Generator().manual_seed(3)
        return process.log_likelihood(
            backbone.denoiser, rows, num_times=3, generator=noise, alike=alike, max_rows=max_rows
        )

    alone = torch.cat([nats(row[None]) for row in x])
    torch.testing.assert_close(nats(x), alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nats(x, max_rows=2), alone, rtol=1e-5, atol=1e-5)
    assert (nats(x, alike=False) - alone)[1:].abs().max() > 1e-2


def edit(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))


def reseal(folder: Path) -> None:
    """Make the digest agree with changed weights, as an attacker would."""
    import hashlib

    edit(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


# Figures ---------------------------------------------------------------------------------------------------------


def test_the_bound_is_exact_on_independent_positions() -> None:
    backbone = Backbone(DNACodec(3), MaskedDiffusion(4), Fixed())
    designs = ["".join(letters) for letters in itertools.product("ACGT", repeat=3)]
    p = dict(zip("ACGT", (0.4, 0.3, 0.2, 0.1), strict=True))
    exact = torch.tensor(
        [sum(math.log(p[letter]) for letter in design) for design in designs], dtype=torch.float64
    )
    bound = backbone.log_likelihood(designs, num_times=4000)
    torch.testing.assert_close(bound, exact, atol=0.15, rtol=0)
    weights = exact.exp()
    assert float(-(weights * bound).sum() / 3) == pytest.approx(1.279854226, abs=0.004)  # H(p), nats a letter


def test_likelihood_and_samples_are_functions_of_their_seed() -> None:
    backbone = make()
    state = torch.get_rng_state()
    first = backbone.sample(70, steps=4, seed=1)
    assert backbone.sample(70, steps=4, seed=1) == first != backbone.sample(70, steps=4, seed=2)
    assert backbone.sample(65, steps=4, seed=1)[:64] == first[:64]  # blocks do not influence each other
    assert torch.equal(backbone.log_likelihood(first[:3]), backbone.log_likelihood(first[:3]))
    assert torch.equal(torch.get_rng_state(), state)  # nothing global was seeded


def test_samples_follow_the_model() -> None:
    backbone = Backbone(DNACodec(8), MaskedDiffusion(4), Fixed())
    text = "".join(backbone.sample(512, steps=8))
    counts = [text.count(letter) / len(text) for letter in "ACGT"]
    assert counts == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=4 * 0.5 / math.sqrt(len(text)))


def test_templates_are_kept() -> None:
    designs = make().sample(10, steps=4, template="AC**GT")
    assert all(design[:2] == "AC" and design[4:] == "GT" for design in designs)
    with pytest.raises(DesignError):
        make().sample(1, template="AC")


def test_designs_that_the_codec_refuses() -> None:
    with pytest.raises(DesignError):
        make().log_likelihood(["ACGTAX"])


# Folders ---------------------------------------------------------------------------------------------------------


def test_a_saved_backbone_comes_back_the_same(folder: Path) -> None:
    backbone, again = make(), load_backbone(folder)
    assert again.sample(5, seed=3) == backbone.sample(5, seed=3)
    assert isinstance(again.process, MaskedDiffusion)
    assert isinstance(again.process.schedule, Cosine) and isinstance(again.process.unmasking, FirstHitting)
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    assert (folder / "model.safetensors").stat().st_mode & 0o444 == 0o444  # also for other users
    assert again.reference is None and again.provenance["name"] == str(folder)


def test_an_export_replaces_an_earlier_one_and_nothing_else(folder: Path) -> None:
    (folder / "CARD.md").write_text("# Title\n\nMine.\n")
    make(1).save_pretrained(folder, training={"step": 7})
    again = load_backbone(folder)
    assert again.sample(5) == make(1).sample(5) and again.provenance["training"] == {"step": 7}
    assert card_line(folder) == "Mine."
    assert sorted(item.name for item in folder.parent.iterdir()) == ["saved"]  # no temporary folder is left


def test_an_export_never_touches_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds other files"):
        make().save_pretrained(tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        make().save_pretrained(tmp_path / "thesis.tex")
    with pytest.raises(OutputError, match="cannot be written"):
        make().save_pretrained("/proc/nowhere/saved")


def test_an_interrupted_export_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gendesign.pretrained.yaml.safe_dump", fail)
    with pytest.raises(OutputError, match="No space left"):
        make().save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def truncate(folder: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[: len(raw) // 2])


def tamper(folder: Path) -> None:
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(raw))


def put_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    reseal(folder)


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))


def lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("head.bias")
    save_file(weights, folder / "model.safetensors")
    reseal(folder)


def name_a_system_call(folder: Path) -> None:
    edit(folder, denoiser={"class_path": "os.system", "init_args": {"command": f"touch {folder}/hacked"}})


PROCESS = {"class_path": "gendesign.diffusion.masked.MaskedDiffusion"}
DENOISER = {"class_path": "gendesign.models.dilated_conv.DilatedConvDenoiser"}


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (truncate, CheckpointError, "sha256 differs"),
        (tamper, CheckpointError, "sha256 differs"),
        (put_a_pickle, CheckpointError, "not a safetensors file"),
        (only_a_pickle, CheckpointError, "pytorch_model.bin may be a pickle"),
        (lose_a_tensor, CheckpointError, "lacks head.bias"),
        (name_a_system_call, TrustError, "os.system"),
        (lambda f: edit(f, codec={"class_path": "gendesign.run.os.system"}),
         CheckpointError, "gendesign.run.os.system"),
        (lambda f: edit(f, codec={"class_path": "gendesign.data.sequences.SequenceDataModule"}), TrustError, "kind"),
        (lambda f: edit(f, codec={"class_path": "gendesign.diffusion.schedules.Cosine"}),
         CheckpointError, "expected a Codec"),
        (lambda f: edit(f, codec={"class_path": "gendesign.codecs.ProteinCodec", "init_args": {"length": 6}}),
         CheckpointError, "same number of tokens.*ProteinCodec has 20"),
        (lambda f: edit(f, process=PROCESS | {"init_args": {"vocab_size": 5}}),
         CheckpointError, "MaskedDiffusion has 5"),
        (lambda f: edit(f, denoiser=DENOISER | {"init_args": {"vocab_size": 4, "width": 9}}),
         CheckpointError, "another shape"),
        (lambda f: edit(f, denoiser=DENOISER | {"init_args": {"vocab_size": 4, "widht": 8}}), CheckpointError, "widht"),
        (lambda f: edit(f, denoiser=None), CheckpointError, "no 'denoiser'"),
        (lambda f: edit(f, format_version=99), CheckpointError, "format_version is 99"),
        (lambda f: edit(f, kind="reward"), CheckpointError, "expected a backbone"),
        (lambda f: (f / "config.yaml").write_text("a: [1"), CheckpointError, "cannot be read as YAML"),
        (lambda f: (f / "config.yaml").write_text("!!python/object/apply:os.system ['true']"), CheckpointError, "YAML"),
        (lambda f: (f / "config.yaml").write_text("- 1"), CheckpointError, "expected keys and values"),
        (lambda f: (f / "config.yaml").unlink(), CheckpointError, "no config.yaml"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(folder: Path, damage: Any, error: type[Exception], message: str) -> None:
    damage(folder)
    with pytest.raises(error, match=message) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "hacked").exists()


def test_code_of_a_trusted_package_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"class_path": "outside.Network", "init_args": {"vocab_size": 4}}
    edit(folder, denoiser=config)
    module = type(pickle)("outside")
    module.Network = lambda vocab_size: DilatedConvDenoiser(vocab_size, 8, depth=2)  # type: ignore[attr-defined]
    module.Network.__module__ = "outside"
    monkeypatch.setitem(__import__("sys").modules, "outside", module)
    with pytest.raises(TrustError, match=r"trust=\['outside'\]"):
        load_backbone(folder)
    found = load_backbone(folder, trust=["outside"])
    assert found.sample(2)
    found.save_pretrained(folder.parent / "tuned")  # what came of it may be of the same packages
    assert DRAKES(tuned=str(folder.parent / "tuned"))(found)


def test_training_checkpoints_and_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is a file; expected a folder"):
        load_backbone(tmp_path / "last.ckpt")
    make().save_pretrained(tmp_path / "shipped" / "dna-tiny")
    (tmp_path / "shipped" / "dna-tiny" / "CARD.md").write_text("# dna-tiny\n\nA tiny one.\n\nMore.\n")
    monkeypatch.setattr(gendesign.loading, "SHIPPED", tmp_path / "shipped")
    assert list_backbones() == {"dna-tiny": "A tiny one."}
    assert load_backbone("dna-tiny").folder == tmp_path / "shipped" / "dna-tiny"
    with pytest.raises(CheckpointError, match="did you mean 'dna-tiny'"):
        load_backbone("dna-tinny")
    with pytest.raises(CheckpointError, match="shipped are dna-tiny"):
        load_backbone("zzz")


def test_a_hub_id_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(repository: str, **arguments: Any) -> str:
        asked.append(repository)
        if repository == "org/none":
            raise OSError("404\nnot found")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_backbone("org/promoters").sample(2) and asked == ["org/promoters"]
    with pytest.raises(CheckpointError, match=r"the hub did not give it \(404\)"):
        load_backbone("org/none")


# Parts -----------------------------------------------------------------------------------------------------------


def test_parts_that_do_not_fit_each_other() -> None:
    with pytest.raises(ConfigError, match="same number of tokens"):
        Backbone(DNACodec(6, variable=True), MaskedDiffusion(4), Fixed())


def test_weights_of_another_network_are_refused() -> None:
    other = Backbone(RNACodec(6), MaskedDiffusion(4), DilatedConvDenoiser(4, 16, depth=2))
    with pytest.raises(CheckpointError, match="do not fit"):
        make().load_weights(other)


def test_a_folder_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert find_pretrained("~/mine", tmp_path, noun="backbone") == tmp_path / "mine"
