"""The loop: data follow the agent, and a killed run continues."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.determinism import dropout_seeded
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import CheckpointError, ConfigError
from gendesign.rl.filters import ReturnFilter
from gendesign.rl.loop import Loop
from gendesign.rl.objectives import TD3BC
from gendesign.rl.replay import Replay
from gendesign.rl.synthesis import synthesize
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance

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


@pytest.mark.parametrize("mode", ["diagonal", "exact", "published"])
def test_guidance_moves_a_turn_toward_the_agent(backbone, real, tmp_path, mode):
    """A turn is a set of `synthesize`, guided by the agent as it is then."""
    pytest.importorskip("torchrl")
    loop = Loop(turns=1, updates=1, warmup=0, num_steps=200, steps=16, guidance=PolicyGuidance(mode=mode))
    with dropout_seeded(0, "agent"):
        agent = METHOD.agent(Replay.of(real))
    torch.nn.init.constant_(agent.network[-1].bias, 1.1)  # tanh 1.1 = .8
    torch.nn.init.zeros_(agent.network[-1].weight)

    class Fixed(TD3BC):
        def agent(self, replay):
            return agent

    loop.run(backbone, real, Fixed(**dataclasses.asdict(METHOD)), folder=tmp_path)
    made = read_trajectories(tmp_path / "turn-1.npz")
    assert made.num_steps == 201 and made.provenance["steering"]["mode"] == mode
    assert made.provenance["generator"] == "gendesign.synthesize"
    plain = synthesize(backbone, num_steps=200, steps=16, seed=made.provenance["seed"])
    means = [np.mean([e.actions.mean() for e in data.episodes]) for data in (plain.trajectories, made)]
    assert abs(means[0]) < 0.1 and 0.3 < means[1] < 0.9
    assert not list(tmp_path.glob(".*"))


def test_a_killed_loop_continues_to_the_same_agent(backbone, real, tmp_path):
    pytest.importorskip("torchrl")
    loop = Loop(
        turns=2, updates=6, warmup=4, num_steps=15, steps=3, filters=[ReturnFilter(temperature=9.0).fit(real)]
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
    other = copy.deepcopy(backbone)
    other.denoiser.register_buffer("weight", torch.ones(1))
    with pytest.raises(CheckpointError, match="another backbone"):
        loop.run(other, real, METHOD, seed=1, folder=tmp_path)
    # the checkpoint that was in the way is removed: nothing that lies beside it is used
    (tmp_path / "loop.checkpoint").unlink()
    fresh = loop.run(backbone, real, METHOD, seed=2, folder=tmp_path)
    expected = loop.run(backbone, real, METHOD, seed=2)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name
    with pytest.raises(ConfigError, match="share"):
        Loop(share=0.0)
