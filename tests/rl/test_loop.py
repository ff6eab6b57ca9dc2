"""The loop: data follow the agent, a killed run continues, segments become episodes."""

import numpy as np
import pytest
import torch

from gendesign.array_codecs import VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import CheckpointError, ConfigError, UnsupportedError
from gendesign.rl.filters import ReturnFilter
from gendesign.rl.loop import Loop, sample_trajectories, segments_as_trajectories
from gendesign.rl.objectives import TD3BC
from gendesign.rl.policies import Gaussian
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.unsteered import Unsteered

STEPS, COLUMNS = 4, 4
METHOD = TD3BC(width=8, batch_size=16, lr=3e-3)


@pytest.fixture(scope="module")
def backbone():
    """Rows of independent normal numbers, exactly known."""
    codec = TrajectoryCodec(1, [-1.0], [1.0], steps=STEPS, mean=[0, 0, 0, 0.5], std=[1, 0.5, 1, 0.5])
    size = STEPS * COLUMNS
    mean = torch.zeros(size, dtype=torch.float64)
    mean[3::4] = -1.0  # never terminal
    scale = torch.ones(size, dtype=torch.float64)
    scale[3::4] = 1e-4
    return Backbone(
        codec, PoissonFlow(torch.inf, sigma_data=1.0), CorrelatedGaussian(mean, torch.diag(scale))
    )


@pytest.fixture(scope="module")
def real():
    draw = np.random.default_rng(0)
    late = np.array([False] * 9 + [True])
    episodes = tuple(
        Episode(
            draw.standard_normal((11, 1)),
            draw.uniform(-1, 1, (10, 1)),
            draw.standard_normal(10),
            ~late & late,
            late,
        )
        for _ in range(6)
    )
    return Trajectories(episodes, np.array([-1.0]), np.array([1.0]))


def test_segments_become_episodes(backbone, real):
    rows = np.zeros((3, STEPS, COLUMNS))
    rows[..., 0] = np.arange(STEPS)
    rows[..., 2] = 10 + np.arange(STEPS)
    rows[1, 1, 3] = 0.9
    made = segments_as_trajectories(list(rows), backbone.codec, like=real)
    assert [len(e) for e in made.episodes] == [3, 2, 3]
    assert [e.terminations[-1] for e in made.episodes] == [False, True, False]
    assert [e.truncations[-1] for e in made.episodes] == [True, False, True]
    assert made.episodes[0].observations[:, 0].tolist() == [0, 1, 2, 3]
    assert made.episodes[1].rewards.tolist() == [10, 11]


@pytest.mark.parametrize("mode", ["diagonal", "exact", "published"])
def test_guidance_moves_the_samples_toward_the_policy(backbone, real, mode):
    policy = Gaussian(lambda s: torch.full_like(s, 0.8), 0.2)
    place = {"steps": 16, "like": real, "place": (0, "test")}
    base = sample_trajectories(backbone, Unsteered(), 70, **place)
    guided = sample_trajectories(backbone, PolicyGuidance(policy, mode=mode), 70, **place)
    means = [np.mean([e.actions.mean() for e in data.episodes]) for data in (base, guided)]
    assert abs(means[0]) < 0.1 and 0.3 < means[1] < 0.9


def test_a_backbone_of_something_else_is_refused(backbone, real):
    codec = VectorSequenceCodec(["a"], 2, mean=[0], std=[1])
    other = Backbone(codec, backbone.process, CorrelatedGaussian(torch.zeros(2), torch.eye(2)))
    with pytest.raises(UnsupportedError, match="TrajectoryCodec"):
        sample_trajectories(other, Unsteered(), 1, steps=2, like=real, place=(0,))


def test_a_killed_loop_continues_to_the_same_agent(backbone, real, tmp_path):
    pytest.importorskip("torchrl")
    loop = Loop(
        turns=2, updates=6, warmup=4, segments=5, steps=3, filters=[ReturnFilter(temperature=9.0).fit(real)]
    )
    seen = []
    whole = loop.run(backbone, real, METHOD, seed=1, on_turn=lambda turn, agent: seen.append(turn))
    assert seen == [0, 1, 2]

    def kill(turn, agent):
        if turn == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(backbone, real, METHOD, seed=1, folder=tmp_path, on_turn=kill)
    assert (tmp_path / "turn-1.npz").exists() and not (tmp_path / "turn-2.npz").exists()
    seen.clear()
    again = loop.run(
        backbone, real, METHOD, seed=1, folder=tmp_path, on_turn=lambda turn, agent: seen.append(turn)
    )
    assert seen == [2]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert (tmp_path / "turn-1.npz").read_bytes() != (tmp_path / "turn-2.npz").read_bytes()
    with pytest.raises(CheckpointError, match="another loop"):
        Loop(turns=3, updates=6, warmup=4).run(backbone, real, METHOD, seed=1, folder=tmp_path)
    with pytest.raises(ConfigError, match="share"):
        Loop(share=0.0)
