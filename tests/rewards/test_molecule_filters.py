"""Filters of molecules name what they object to."""

import pickle

import pytest

from gendesign.command.compose import compose
from gendesign.errors import ConfigError
from gendesign.rewards import PAINS, QED, Lipinski, Status, Substructure, Threshold, build_reward

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_lipinski_counts_violations() -> None:
    greasy = "C" * 40  # heavy and greasy, no donors
    polar = "OCC(O)C(O)C(O)C(O)C(O)C(O)CO"
    scores = Lipinski()([ASPIRIN, greasy, polar])
    assert scores.values.tolist() == [0, -2, -1]
    assert scores.message[1] == "molecular weight 563.1 above 500; logP 15.85 above 5"
    assert "donors 8 above 5" in scores.message[2]


def test_pains_finds_a_rhodanine_and_lets_aspirin_pass() -> None:
    rhodanine = "O=C1NC(=S)SC1=Cc1ccccc1"
    scores = PAINS()([ASPIRIN, rhodanine])
    assert scores.values.tolist() == [0, -1] and "rhod" in scores.message[1]


def test_substructures_are_required_and_forbidden() -> None:
    acid, halogen = "[CX3](=O)[OX2H1]", "[F,Cl,Br,I]"
    reward = Substructure(f"{acid} c1ccccc1", forbidden=halogen)
    scores = reward([ASPIRIN, "CC(=O)O", "FC(F)C(=O)O", "CCO"])
    assert scores.values.tolist() == [0, -1, -2, -2]
    assert scores.message[2] == f"lacks c1ccccc1; has {halogen}"
    assert pickle.loads(pickle.dumps(reward))([ASPIRIN]).values[0] == 0  # noqa: S301


def test_stereochemistry_counts_where_a_pattern_states_it() -> None:
    alanine = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"]
    assert Substructure("C[C@H](N)C(=O)O")(alanine).values.tolist() == [0, -1, -1]
    assert Substructure(forbidden="CC(N)C(=O)O")(alanine).values.tolist() == [-1, -1, -1]
    assert Substructure("F/C=C/F")(["F/C=C/F", "F/C=C\\F", "FC=CF"]).values.tolist() == [0, -1, -1]


def test_inside_a_threshold_a_filter_excludes_and_says_why() -> None:
    scores = Threshold(QED(), Substructure(forbidden="[Cl]"), at_least=0.0)(["CCO", "CCCl"])
    assert list(scores.status) == [Status.OK, Status.INVALID]
    assert "has [Cl]" in scores.message[1]


@pytest.mark.parametrize("wrong", ["c1ccc", "[CX3", "not smarts", "CC\u00e9"])
def test_bad_smarts_are_refused_when_the_reward_is_made(wrong: str) -> None:
    with pytest.raises(ConfigError, match="must be SMARTS"):
        Substructure(wrong)
    with pytest.raises(ConfigError, match="must be SMARTS"):
        Substructure(forbidden=wrong)


def test_nothing_to_look_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to look for"):
        Substructure(" ")


@pytest.mark.parametrize(
    "smarts", ["[CX3](=O)[OX2H1]", "[$([NX3;H2]),$([NX3;H1])]", "[#6]=[#8]", "N#N", "NAN"]
)
def test_smarts_on_the_command_line_are_taken_to_the_letter(smarts: str) -> None:
    plain = compose(["reward=substructure", f"reward.required={smarts}", "reward.forbidden={[Au]}"])
    assert plain["reward"]["init_args"] == {"required": smarts, "forbidden": "{[Au]}"}
    plain["reward"]["init_args"]["forbidden"] = "[Au]"
    if smarts != "NAN":
        reward = build_reward(plain["reward"])
        assert list(reward.required) == [smarts]  # type: ignore[attr-defined]
