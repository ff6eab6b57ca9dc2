"""Synthetic sets: the same settings give the same bytes, whole or resumed, at any horizon."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.errors import ConfigError, DataError, OutputError, UnsupportedError
from gendesign.rl.agent import Agent
from gendesign.rl.episodes import episode_of, pieces
from gendesign.rl.policies import Gaussian
from gendesign.rl.policy_words import named_policy, policy_digest
from gendesign.rl.swing_up import SwingUp, swing_up, torques
from gendesign.rl.synthesis import EvenSample, blocks_of, synthesize
from gendesign.rl.trajectories import About, Episode
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories

ROWS = 5


def backbone(terminal: float = 0.0) -> Backbone:
    """Rows (s, a, r, d) of a Gaussian, known exactly; observations of one segment are strongly correlated."""
    codec = TrajectoryCodec(1, [-2.0], [2.0], steps=ROWS, mean=[1, 0, 0, terminal], std=[1, 0.5, 1, 0.1])
    n = codec.length
    covariance = torch.eye(n, dtype=torch.float64)
    seen = torch.arange(0, n, 4)
    covariance[seen[:, None], seen] = 0.95 + 0.05 * torch.eye(ROWS, dtype=torch.float64)
    process = gd.PoissonFlow(torch.inf, sigma_data=1.0)
    return Backbone(codec, process, CorrelatedGaussian(torch.zeros(n, dtype=torch.float64), covariance))


def test_whole_episodes_of_the_right_kind_and_their_provenance():
    made = synthesize(backbone(), num_steps=100, steps=8)
    data = made.trajectories
    assert [len(e) for e in data.episodes] == [ROWS - 1] * 25
    assert made.num_steps == 100 and made.num_episodes == 25 and made.cost.network_rows == 64 * 8
    first = data.episodes[0]
    assert first.observations.dtype == first.actions.dtype == np.float32
    assert first.truncations[-1] and not first.terminations.any()
    assert np.abs(np.concatenate([e.actions for e in data.episodes])).max() <= 2
    assert data.provenance["generator"] == "gendesign.synthesize" and data.provenance["seed"] == 0
    longer = synthesize(backbone(), num_steps=300, steps=8).trajectories
    for a, b in zip(data.episodes, longer.episodes, strict=False):
        assert np.array_equal(a.observations, b.observations) and np.array_equal(a.rewards, b.rewards)
    other = synthesize(backbone(), num_steps=4, steps=8, seed=1).trajectories
    assert not np.array_equal(other.episodes[0].observations, first.observations)


@pytest.mark.parametrize("name", ["a.npz", "a.hdf5", "minari:space/a-v0"])
def test_a_run_that_was_stopped_gives_the_same_bytes(tmp_path, monkeypatch, name):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "m"))
    monkeypatch.chdir(tmp_path)
    settings = {"num_steps": 4 * 150, "steps": 4}

    def content(made):
        path = made.paths[0]
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return [p.read_bytes() for p in files]

    want = content(synthesize(backbone(), out=name, **settings))
    calls = []

    def interrupt(news):
        calls.append(news.done)
        if news.done > 64 * 4:  # in the second block
            raise KeyboardInterrupt

    place = tmp_path / "m" if name.startswith("minari") else tmp_path / name
    place.rename(tmp_path / "aside")
    with pytest.raises(KeyboardInterrupt):
        synthesize(backbone(), out=name, progress=interrupt, **settings)
    assert blocks_of(name).is_dir() and not (tmp_path / name).exists()
    with pytest.raises(OutputError, match="--resume"):
        synthesize(backbone(), out=name, **settings)
    with pytest.raises(OutputError, match="other settings"):
        synthesize(backbone(), out=name, resume=True, seed=1, **settings)
    calls.clear()
    resumed = synthesize(
        backbone(), out=name, resume=True, progress=lambda n: calls.append(n.done), **settings
    )
    assert content(resumed) == want
    assert min(calls) > 64 * 4 and not blocks_of(name).exists()
    assert resumed.trajectories.num_steps == 600
    with pytest.raises(OutputError, match="exists"):
        synthesize(backbone(), out=name, **settings)


def test_what_reports_look_at_is_spread_evenly_and_bounded():
    one = Episode(np.zeros((2, 1)), np.zeros((1, 1)), np.zeros(1), np.array([False]), np.array([True]))
    sample = EvenSample(4)
    episodes = [dataclasses.replace(one, rewards=np.full(1, float(i))) for i in range(24)]
    assert list(sample.of(episodes)) == episodes
    assert [e.rewards[0] for e in sample.kept] == [0, 4, 8, 12, 16, 20]
    made = synthesize(backbone(), num_steps=100, steps=2)
    assert len(made.sample) == 25 and made.sample[24] is made.trajectories.episodes[24]


def test_what_a_kill_leaves_is_inside_the_hidden_folder_and_swept_by_the_next(tmp_path):
    settings = {"num_steps": 4 * 150, "steps": 2, "out": tmp_path / "a.npz"}

    def interrupt(news):
        if news.done > 64 * 2:
            seen.extend(sorted(path.name for path in tmp_path.iterdir()))
            raise KeyboardInterrupt

    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        synthesize(backbone(), progress=interrupt, **settings)
    hidden = blocks_of(str(tmp_path / "a.npz"))
    assert seen == [hidden.name]
    (hidden / "writing" / ".a.npz.xyz").mkdir(parents=True)  # as a killed process leaves it
    synthesize(backbone(), resume=True, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_several_places_hold_the_same(tmp_path):
    pytest.importorskip("h5py")
    made = synthesize(backbone(), num_steps=40, steps=4, out=[tmp_path / "a.npz", tmp_path / "b.hdf5"])
    one, two = (read_trajectories(path) for path in made.paths)
    assert all(np.array_equal(a.rewards, b.rewards) for a, b in zip(one.episodes, two.episodes, strict=True))
    assert one.provenance == two.provenance and one.provenance["num_steps"] == 40
    with pytest.raises(ConfigError, match="twice"):
        synthesize(backbone(), num_steps=4, out=["c.npz", "c.npz"])


def test_guidance_moves_actions_and_the_policy_is_written_down():
    policy = Gaussian(lambda s: torch.full_like(s, 0.8), 0.2)
    steering = gd.PolicyGuidance(policy, mode="diagonal")
    guided = synthesize(backbone(), steering, num_steps=400, steps=16)
    plain = synthesize(backbone(), num_steps=400, steps=16)
    means = [np.concatenate([e.actions for e in one.trajectories.episodes]).mean() for one in (guided, plain)]
    assert abs(means[1]) < 0.2 and means[0] > 0.5
    said = guided.about.provenance["steering"]
    assert said["mode"] == "diagonal" and said["policy"]["sha256"] == policy_digest(policy)
    json.dumps(said)


def test_shorter_horizons_divide_a_segment_and_longer_ones_continue_it():
    short = synthesize(backbone(), num_steps=40, steps=8, horizon=2).trajectories
    whole = synthesize(backbone(), num_steps=80, steps=8).trajectories
    assert [len(e) for e in short.episodes] == [2] * 20
    assert np.array_equal(short.episodes[1].observations, whole.episodes[0].observations[2:])
    made = synthesize(backbone(), num_steps=64 * 11, steps=64, horizon=11, overlap=2)
    data = made.trajectories
    assert [len(e) for e in data.episodes] == [11] * 64
    assert made.cost.network_rows == 4 * 64 * 64  # 5, 8, 11 and 14 rows
    seen = np.stack([e.observations[:, 0] for e in data.episodes])
    # one link holds on to the other
    assert np.corrcoef(seen[:, 4], seen[:, 5])[0, 1] > 0.6
    assert abs(np.corrcoef(seen[:, 4], np.roll(seen[:, 5], 1))[0, 1]) < 0.4


def test_initial_states_are_given():
    one = synthesize(backbone(), num_steps=200, steps=32, start=[3.0]).trajectories
    assert all(e.observations[0, 0] == np.float32(3.0) for e in one.episodes)
    # from 1 without; exactly 2.9, of which replacement reaches a part
    assert np.mean([e.observations[-1, 0] for e in one.episodes]) > 1.6
    two = synthesize(backbone(), num_steps=200, steps=8, start=[[3.0], [-1.0]]).trajectories
    assert [float(e.observations[0, 0]) for e in two.episodes[:4]] == pytest.approx([3.0, -1.0, 3.0, -1.0])


def test_rows_become_episodes_up_to_the_first_terminal():
    codec, about = (
        backbone().codec,
        About(np.array([-2.0]), np.array([2.0]), np.array([0.0]), np.array([3.0])),
    )
    rows = np.stack([np.arange(5.0), np.full(5, 1.0), np.arange(5.0), [0.1, 0.4, 0.6, 0.0, 0.9]], axis=1)
    got = episode_of(rows, codec, about)
    assert len(got) == 3 and got.terminations.tolist() == [False, False, True] and not got.truncations.any()
    assert got.observations[:, 0].tolist() == [0, 1, 2, 3] and got.rewards.tolist() == [0, 1, 2]
    rows[2, -1] = 0.2  # the last row's terminal is of a step that is not given
    got = episode_of(rows, codec, about)
    assert len(got) == 4 and got.truncations.tolist() == [False] * 3 + [True]
    assert got.observations[:, 0].tolist() == [0, 1, 2, 3, 3]  # clipped to its bound
    rows[3, 0] = np.nan
    assert episode_of(rows, codec, about) is None
    rows[:, -1] = [0, 0, 0, 1, 1]
    assert [len(part) for part in pieces(rows, 2)] == [3, 3]
    assert [len(part) for part in pieces(rows, 3)] == [4, 2]
    rows[:, -1] = 0
    assert [len(part) for part in pieces(rows, 3)] == [4]


def test_terminals_of_the_backbone_terminate():
    data = synthesize(backbone(terminal=1.0), num_steps=10, steps=4).trajectories
    assert [len(e) for e in data.episodes] == [1] * 10 and all(e.terminations[-1] for e in data.episodes)


def test_filters_take_out_and_give_up():
    def positive(episodes, *, generator):
        return [e for e in episodes if e.rewards.sum() > 0]

    made = synthesize(backbone(), num_steps=400, steps=4, filters=[positive])
    assert made.trajectories.returns().min() > 0 and made.filtered > 30
    assert made.about.provenance["filters"] == ["function"]
    with pytest.raises(DataError, match="left no episode"):
        synthesize(backbone(), num_steps=4, steps=1, filters=[lambda episodes, generator: []])


def test_refusals(tmp_path):
    with pytest.raises(UnsupportedError, match="trajectories"):
        synthesize(gd.load_backbone("image-digits"))
    for bad in (
        {"num_steps": 0},
        {"horizon": 0},
        {"overlap": 5, "horizon": 9},
        {"start": [1.0, 2.0]},
        {"start": [np.nan]},
    ):
        with pytest.raises(ConfigError):
            synthesize(backbone(), **{"num_steps": 4, "steps": 1} | bad)
    svdd = gd.SVDD(alpha=1.0)
    reward = gd.load_reward("pendulum-return")
    with pytest.raises(UnsupportedError, match="longer horizon"):
        synthesize(backbone(), svdd, reward=reward, horizon=20, overlap=2)
    wrong = gd.PolicyGuidance(Gaussian(lambda s: s.expand(*s.shape[:-1], 2), 0.2), mode="diagonal")
    with pytest.raises(ConfigError, match=r"actions of shape \[64, 5, 2\]"):
        synthesize(backbone(), wrong, num_steps=4, steps=2, out=tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="ends in"):
        synthesize(backbone(), num_steps=4, out=tmp_path / "a.txt")


def own_mean(observations):
    return 0 * observations[..., :1]


def own_policy():
    return SwingUp(0.3)


def test_policies_by_a_word():
    assert named_policy("swing-up@0.5", [-2], [2]).init_args == {"noise": 0.5}
    assert named_policy(f"{__name__}:own_mean@0.25", [-2], [2]).std == 0.5
    assert isinstance(named_policy(f"{__name__}:own_policy", [-2], [2]), SwingUp)
    assert policy_digest(SwingUp(0.3)) == policy_digest(own_policy()) != policy_digest(SwingUp(0.4))
    one, two = (Agent(3, [-2.0], [2.0], width=4, depth=1) for _ in range(2))
    assert policy_digest(one.law(noise=0.3)) != policy_digest(two.law(noise=0.3))
    two.load_state_dict(one.state_dict())
    assert policy_digest(one.law(noise=0.3)) == policy_digest(two.law(noise=0.3))
    for word, message in (
        ("good", "no policy 'good'"),
        ("swing-up@loud", "number after @"),
        ("swing-up@0", "above 0"),
        (f"{__name__}:own_mean", "say the noise"),
        (f"{__name__}:own_policy@0.2", "law of its own"),
        (f"{__name__}:nothing", "cannot be imported"),
        ("math:pi", "neither a policy nor a function"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_policy(word, [-2], [2])


def test_the_controller_of_torch_is_the_one_of_numpy():
    rng = np.random.default_rng(0)
    angle, speed = rng.uniform(-np.pi, np.pi, 200), rng.uniform(-8, 8, 200)
    seen = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    assert np.allclose(torques(torch.tensor(seen)).numpy(), np.stack([swing_up(one) for one in seen]))
    with pytest.raises(ConfigError, match="Pendulum-v1"):
        torques(torch.zeros(2, 4))
