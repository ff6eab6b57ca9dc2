"""What ships: every reward by its name, and the predictors' folders."""

from pathlib import Path

import numpy as np
import pytest

from gendesign.data import SequenceDataModule
from gendesign.pretrained import card_line
from gendesign.rewards import list_rewards, load_predictor, load_reward
from gendesign.rewards.predictors import PRETRAINED

rng = np.random.default_rng(0)
DESIGNS = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(4)]
PREDICTORS = ["dna-expression", "dna-expression-heldout"]


@pytest.mark.parametrize("name", list_rewards())
def test_every_shipped_reward_scores_promoters(name: str) -> None:
    reward = load_reward(name)
    scores = reward(DESIGNS)
    assert scores.ok.any() and reward.name == name
    assert np.isfinite(scores.values[scores.ok]).all()
    assert not reward(["ACGN" * 20]).ok.any()


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_shipped_predictor_is_small_and_has_a_card(name: str) -> None:
    folder = PRETRAINED / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4e6
    card = (folder / "CARD.md").read_text()
    assert card.startswith(f"# {name}\n") and len(card_line(folder)) > 20
    for section in ("Data", "Licence", "Command", "Metrics", "Limits"):
        assert f"## {section}" in card


def test_guide_and_auditor_were_trained_on_disjoint_groups_and_tested_on_the_same(tmp_path: Path) -> None:
    import yaml

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
