"""What ships: every reward by its name, and the predictors' folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendesign.array_codecs import ImageCodec
from gendesign.data.images import ImageDataModule
from gendesign.data.protein_sources import AVGFP
from gendesign.data.sequences import SequenceDataModule
from gendesign.errors import MissingExtraError
from gendesign.metrics.fidelity import frechet_distance
from gendesign.models.known_motifs import KnownMotifs
from gendesign.pretrained import card_line
from gendesign.rewards import Status, list_rewards, load_classifier, load_predictor, load_reward
from gendesign.rewards.classifiers import ensemble
from gendesign.rewards.images import to_pixels
from gendesign.rewards.motifs import read_log_odds
from gendesign.rewards.predictors import PRETRAINED

rng = np.random.default_rng(0)
DESIGNS = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(4)]
PREDICTORS = ["dna-expression", "dna-expression-heldout"]
OF_GFP = ["gfp-brightness", "gfp-brightness-heldout"]
REGRESSORS = ["molecule-seh", "molecule-seh-heldout"]
CLASSIFIERS = ["digit-classifier", "digit-classifier-heldout"]


IMAGES = list(rng.random((4, 8, 8)))
TRAJECTORIES = list(rng.random((4, 33, 6)))
OF_IMAGES = ["brightness", "compressibility", "contrast", "digit", "digit-heldout"]
MOLECULES = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "C[C@H](N)C(=O)O", "C[N+](C)(C)CC(=O)[O-]"]
MOLECULES += ["CCC(=O)N1CCC(NC(=O)Nc2ccc(OC(F)(F)F)cc2)CC1", "O=C(NC1CCCCC1)Nc1ccccc1"]  # known inhibitors


def reference(name: str) -> str:
    config = Path(__file__).parents[2] / "configs" / "design" / "reward" / f"{name}.yaml"
    return str(yaml.safe_load(config.read_text())["init_args"]["reference"])


# test_docking.py, test_inverse_folding.py
NEED_A_FILE = {"docking", "stability", "stability-cautious", "stability-heldout"}


@pytest.mark.parametrize("name", sorted(set(list_rewards()) - NEED_A_FILE))
def test_every_shipped_reward_scores_designs_of_its_kind_and_no_others(name: str) -> None:
    try:
        reward = load_reward(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    own, other = (IMAGES, DESIGNS) if name in OF_IMAGES else (DESIGNS, IMAGES)
    if not reward.unreadable(MOLECULES[1]) and "rdkit" in reward.version:
        own, other = MOLECULES, [*IMAGES, *DESIGNS]
    if reward.unreadable(DESIGNS[0]) and name.startswith("protein-"):  # compared with the shipped reference
        own, other = [reference(name)], [*IMAGES, *DESIGNS]
    if name == "pendulum-return":
        own, other = TRAJECTORIES, [*IMAGES, *DESIGNS]
    if name.startswith("gfp-"):
        own, other = [AVGFP], [*IMAGES, *DESIGNS]
    scores = reward(own)
    assert scores.ok.any() and reward.name == name
    assert np.isfinite(scores.values[scores.ok]).all()
    assert reward(other).counts() == {Status.INVALID: len(other)}
    assert not reward(["AC?N" * 20]).ok.any()


@pytest.mark.parametrize("name", [*PREDICTORS, *OF_GFP, *REGRESSORS, "molecule-properties", *CLASSIFIERS])
def test_what_was_trained_is_small_and_has_a_card(name: str) -> None:
    folder = PRETRAINED / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6
    card = (folder / "CARD.md").read_text()
    assert card.startswith(f"# {name}\n") and len(card_line(folder)) > 20
    for section in ("Data", "Licence", "Command", "Metrics", "Limits"):
        assert f"## {section}" in card


def test_guide_and_auditor_were_trained_on_disjoint_groups_and_tested_on_the_same(tmp_path: Path) -> None:
    from gendesign.building import build
    from gendesign.codecs import SequenceCodec

    table = tmp_path / "table.csv"
    table.write_text(
        "sequence,medium,expression,group\n"
        + "".join(f"{d}{'ACGT'[i % 4]}A,complex,1.0,{i}\n" for i, d in enumerate(_many(400)))
    )
    seen: list[dict[str, set[int]]] = []
    for config in ("dna_expression", "dna_expression_heldout"):
        text = (Path(__file__).parents[2] / "configs" / "train" / f"{config}.yaml").read_text()
        arguments = yaml.safe_load(text)["data"]["init_args"] | {"path": str(table)}
        codec = build(arguments.pop("codec"), kinds=(SequenceCodec,))
        data = SequenceDataModule(codec=codec, **arguments)
        seen.append({split: set(data.indices(split).tolist()) for split in ("train", "val", "test")})
    guide, auditor = seen
    assert guide["test"] == auditor["test"] and len(guide["test"]) > 30
    assert not (guide["train"] | guide["val"]) & (auditor["train"] | auditor["val"] | guide["test"])


@pytest.mark.parametrize("name", PREDICTORS)
def test_the_shipped_motifs_are_in_the_weights(name: str) -> None:
    expected = KnownMotifs(4, 169, 15, 1)
    expected.take(read_log_odds("jaspar2024-yeast"))
    for network in load_predictor(name).networks:
        torch.testing.assert_close(network.stem.known.kernels, expected.kernels, rtol=0, atol=0)


@pytest.mark.parametrize("config", ["dna_expression", "dna_expression_heldout"])
def test_features_are_filled_for_the_predictor_that_is_trained_and_apart_from_its_test_groups(
    config: str,
) -> None:
    folder = Path(__file__).parents[2] / "configs" / "train"
    fit, filling = (yaml.safe_load((folder / f"{config}{end}.yaml").read_text()) for end in ("", "_filling"))
    filled = filling["model"]["init_args"]["predictor"]
    assert filled["class_path"] == fit["model"]["class_path"]
    trained = fit["model"]["init_args"]
    assert filled["init_args"] == {key: trained[key] for key in filled["init_args"]}
    away = filling["data"]["init_args"]["away_from"]["init_args"]
    assert away == {key: fit["data"]["init_args"][key] for key in away}
    split = {"path", "group_column", "val_fraction", "test_fraction", "split_seed"}
    assert split <= set(away) and "fold" not in away  # the test groups are those of both halves


def _many(num: int) -> list[str]:
    draw = np.random.default_rng(1)
    return ["".join(draw.choice(list("ACGT"), 100)) for _ in range(num)]


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_shipped_predictor_tells_strong_promoters_from_weak_ones(name: str) -> None:
    # Natural promoters measured at 14.5 and at 5.5 sort-bin units, of groups that neither was trained on.
    strong = "AGAGAGACGCAAACAGCGCGCAGACTCTACGGGTAATAGACTCACATCCACGTGACCAGTTTCCAATCGAACTTTTTCAC"
    weak = "TATACGATTTCTATTTACAAAATAGTGTGATATTTCACCTTCTATGAGATGAAATACAAAAGAAAGCTTCGCTGCAAGGT"
    predictor = load_predictor(name)
    context = [f"{predictor.prefix}{design}{predictor.suffix}" for design in (strong, weak)]
    complex_medium = predictor(predictor.codec.encode(context))[..., predictor.heads.index("complex")].mean(0)
    assert float(complex_medium[0]) > 11 > 8 > float(complex_medium[1])


def digits_of(config: str) -> ImageDataModule:
    text = (Path(__file__).parents[2] / "configs" / "train" / f"{config}.yaml").read_text()
    arguments = yaml.safe_load(text)["data"]["init_args"]
    return ImageDataModule(codec=ImageCodec(**arguments.pop("codec")["init_args"]), **arguments)


def test_guide_and_auditor_of_digits_share_no_training_image_and_no_test_image_of_the_backbone() -> None:
    guide, auditor = (digits_of(name) for name in ("digit_classifier", "digit_classifier_heldout"))
    backbone = digits_of("image_digits")
    rows = [
        {split: set(data.indices(split).tolist()) for split in ("train", "val", "test")}
        for data in (guide, auditor)
    ]
    assert rows[0]["test"] == rows[1]["test"] == set(backbone.indices("test").tolist())
    assert not rows[0]["train"] & rows[1]["train"] and min(len(part["train"]) for part in rows) > 600
    assert rows[0]["train"] | rows[1]["train"] == set(backbone.indices("train").tolist())


@pytest.mark.parametrize(
    ("name", "config"), zip(CLASSIFIERS, ["digit_classifier", "digit_classifier_heldout"], strict=True)
)
def test_a_shipped_classifier_reads_unseen_digits(name: str, config: str) -> None:
    data = digits_of(config)
    rows = data.indices("test")
    classifier, images = load_classifier(name), to_pixels(list(data.designs[rows]))
    found = ensemble(classifier(images)).argmax(1).numpy()
    assert (found == data.targets[rows, 0]).mean() > 0.95
    # what is measured between sets of digits keeps the digits apart
    features = classifier.features(images).double().numpy()
    assert features.shape == (len(rows), 96)
    threes, eights = (features[data.targets[rows, 0] == digit] for digit in (3, 8))
    assert frechet_distance(threes, eights) > 5 * frechet_distance(threes[::2], threes[1::2])
