"""Agents: their law, their losses against hand-made numbers, what they find, and that a killed run continues."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from gendesign import cli
from gendesign.errors import CheckpointError, ConfigError, DataError, TrustError
from gendesign.rl.agent import Agent, load_agent, save_agent
from gendesign.rl.evaluation import evaluate, normalised_score
from gendesign.rl.objectives import IQL, TD3BC
from gendesign.rl.offline import train_agent
from gendesign.rl.replay import Replay
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.trajectory_files import write_trajectories


def episode(length=1, *, terminates=True, seed=0, observations=2, spread=1.0):
    draw = np.random.default_rng(seed)
    over = np.zeros(length, bool)
    over[-1] = terminates
    late = np.zeros(length, bool)
    late[-1] = not terminates
    actions = draw.uniform(-2, 2, (length, 1))
    seen = spread * draw.standard_normal((length + 1, observations))
    return Episode(seen, actions, -((actions[:, 0] - 0.6) ** 2), over, late)


def data(count=400, **kind):
    bounds = np.array([-2.0]), np.array([2.0])
    return Trajectories(tuple(episode(seed=i, **kind) for i in range(count)), *bounds)


def test_the_law_in_the_environments_units():
    torch.manual_seed(0)
    agent = Agent(3, [-2.0, 0.0], [2.0, 1.0], width=8, noise=0.2)
    agent.mean.fill_(0.5), agent.std.fill_(2.0)
    seen = torch.randn(5, 3, dtype=torch.float64)
    unit = agent.network((seen.float() - 0.5) / 2).tanh()
    mean = torch.tensor([0.0, 0.5]) + torch.tensor([2.0, 0.5]) * unit
    assert torch.allclose(agent(seen).float(), mean) and agent(seen).dtype == torch.float64
    actions = torch.rand(5, 2, dtype=torch.float64)
    law = torch.distributions.Normal(mean.double(), torch.tensor([0.4, 0.1], dtype=torch.float64))
    assert torch.allclose(agent.log_prob(actions, seen), law.log_prob(actions).sum(-1), atol=1e-5)
    e = agent.residuals(actions, seen)
    assert torch.allclose(-(e**2).sum(-1) / 2, agent.log_prob(actions, seen) + math.log(0.04 * 2 * math.pi))
    assert np.allclose(agent.act(seen.numpy()), agent(seen).detach().numpy())
    with pytest.raises(ConfigError, match="reads 3 numbers"):
        agent(torch.zeros(1, 4))
    with pytest.raises(ConfigError, match="low < high"):
        Agent(3, [1.0], [1.0])


def test_an_agent_comes_back_from_its_folder(tmp_path):
    agent = Agent(3, [-2.0], [2.0], width=8, stochastic=True)
    save_agent(agent, tmp_path / "a", provenance={"seed": 1})
    again = load_agent(tmp_path / "a")
    seen = np.random.default_rng(0).standard_normal((4, 3))
    assert np.array_equal(agent.act(seen), again.act(seen)) and again.stochastic
    assert not any(parameter.requires_grad for parameter in again.parameters())
    config = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    config["agent"]["class_path"] = "gendesign.rl.trajectories.Trajectories"
    (tmp_path / "a/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(TrustError, match="expected a gendesign class of kind Agent"):
        load_agent(tmp_path / "a")
    del config["agent"]
    (tmp_path / "a/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="is no agent"):
        load_agent(tmp_path / "a")


def test_rows_are_drawn_by_share_and_weight():
    real, synthetic = data(100), data(900)
    replay = Replay.of(real, synthetic, shares=[3, 1])
    rows = replay.draw(20_000, generator=torch.Generator().manual_seed(0))
    assert (rows < 100).float().mean() == pytest.approx(0.75, abs=0.01)
    assert torch.equal(rows, replay.draw(20_000, generator=torch.Generator().manual_seed(0)))
    weights = np.zeros(100)
    weights[[3, 7]] = 1, 3
    chosen = Replay.of(real, weights=[weights]).draw(8_000, generator=torch.Generator().manual_seed(0))
    assert set(chosen.tolist()) == {3, 7} and (chosen == 7).float().mean() == pytest.approx(0.75, abs=0.02)
    assert replay.actions.abs().max() <= 1
    assert torch.allclose(2 * replay.actions[0, 0], torch.tensor(real.episodes[0].actions[0, 0]).float())
    mean, std = Replay.of(data(2000)).statistics()
    assert torch.allclose(mean, torch.zeros(2), atol=0.1) and torch.allclose(std, torch.ones(2), atol=0.1)
    with pytest.raises(DataError, match="name the environment"):
        Replay.of(Trajectories((episode(),)))
    with pytest.raises(DataError, match="sources differ"):
        Replay.of(real, data(3, observations=4))
    with pytest.raises(ConfigError, match="one share a source"):
        Replay.of(real, synthetic, shares=[1])
    with pytest.raises(ConfigError, match="one weight"):
        Replay.of(real, weights=[np.ones(3)])


def test_normalised_scores_of_d4rl():
    for name, score in (
        ("hopper", 31.348890),
        ("HalfCheetah-v5", 10.311402),
        ("walker2d-medium-v2", 21.747823),
    ):
        assert normalised_score(1000, name) == pytest.approx(score, abs=1e-6)
    assert normalised_score(-100, random=-1100, expert=-100) == 100
    with pytest.raises(ConfigError, match="no references for Pendulum-v1"):
        normalised_score(0, "Pendulum-v1")


def constant(module, value):
    """The last layer of a network, or of each of several, gives one number."""
    with torch.no_grad():
        for name, tensor in module.flatten_keys(".").items():
            if name.endswith("network.4.weight"):
                tensor.zero_()
            if name.endswith("network.4.bias"):
                tensor.fill_(value)


@pytest.mark.parametrize("terminates", [True, False])
def test_td3bc_bootstraps_beyond_a_truncation_and_not_beyond_an_end(terminates):
    pytest.importorskip("torchrl")
    replay = Replay.of(data(50, terminates=terminates))
    method = TD3BC(width=8, discount=0.9, reward_scale=0.5)
    learner = method.learner(method.agent(replay))
    for params in (learner.loss.qvalue_network_params, learner.loss.target_qvalue_network_params):
        constant(params, 4.0)
    rows = learner.rows(replay, torch.arange(50))
    target = 0.5 * replay.rewards + 0.9 * 4.0 * (not terminates)
    critic, actor = (
        float(part(rows)[0].detach()) for part in (learner.loss.qvalue_loss, learner.loss.actor_loss)
    )
    assert critic == pytest.approx(2 * float(((4 - target) ** 2).mean()), rel=1e-5)
    cloning = ((learner.agent.unit(replay.observations) - replay.actions) ** 2).mean()
    assert actor == pytest.approx(-2.5 + float(cloning.detach()), rel=1e-5)


@pytest.mark.parametrize(("gap", "value"), [(2.0, 2.8), (-2.0, 1.2)])
def test_iqls_expectile_and_weight(gap, value):
    pytest.importorskip("torchrl")
    replay = Replay.of(data(50))
    method = IQL(width=8, expectile=0.7, temperature=3.0)
    learner = method.learner(method.agent(replay))
    constant(learner.loss.target_qvalue_network_params, 1 + gap)
    constant(learner.loss.value_network_params, 1.0)
    found = learner.loss(learner.rows(replay, torch.arange(50)))
    assert float(found["loss_value"].detach()) == pytest.approx(value, rel=1e-5)
    unit = learner.agent.unit(replay.observations)
    likely = torch.distributions.Normal(unit, learner.agent.unit_std()).log_prob(replay.actions).mean()
    assert float(found["loss_actor"].detach()) == pytest.approx(
        -min(100.0, math.exp(3 * gap)) * float(likely.detach()), rel=1e-4
    )


QUICK = {"width": 32, "lr": 3e-3, "polyak": 0.1, "batch_size": 128, "normalise": False}


@pytest.mark.whole
@pytest.mark.parametrize(
    "method",
    [TD3BC(critic_weight=50.0, **QUICK), IQL(temperature=10.0, **QUICK)],
    ids=["TD3BC", "IQL"],
)
def test_an_agent_finds_the_best_action_of_its_data(method):
    pytest.importorskip("torchrl")
    agent = train_agent(Replay.of(data(spread=0.1)), method, steps=200, seed=0)
    actions = agent.act(0.1 * np.random.default_rng(9).standard_normal((200, 2)))
    assert abs(actions.mean() - 0.6) < 0.2 and actions.std() < 0.2  # the data's mean is 0


@pytest.mark.parametrize(
    "method", [TD3BC(width=8, batch_size=16), IQL(width=8, batch_size=16)], ids=["TD3BC", "IQL"]
)
def test_a_killed_run_continues_to_the_same_agent(method, tmp_path, monkeypatch):
    pytest.importorskip("torchrl")
    replay = Replay.of(data(60))
    stream = torch.random.get_rng_state()
    whole = train_agent(replay, method, steps=25, seed=3)
    assert torch.equal(stream, torch.random.get_rng_state()), "global randomness moved"
    learner = type(method.learner(whole))
    original = learner.update

    def killed(self, rows, step, total):
        if step == 17:
            raise KeyboardInterrupt
        return original(self, rows, step, total)

    settings = {"steps": 25, "seed": 3, "checkpoint": tmp_path / "c", "every": 10}
    monkeypatch.setattr(learner, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train_agent(replay, method, **settings)
    monkeypatch.setattr(learner, "update", original)
    again = train_agent(replay, method, **settings)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    with pytest.raises(CheckpointError, match="another seed"):
        train_agent(replay, method, **(settings | {"seed": 4}))
    # other numbers in as many rows, or the same rows drawn otherwise
    for other in (
        replace(replay, rewards=replay.rewards + 1),
        replace(replay, probability=replay.probability.flip(0) * torch.linspace(0.5, 1.5, len(replay))),
    ):
        with pytest.raises(CheckpointError, match="another data"):
            train_agent(other, method, **settings)
    (tmp_path / "c").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        train_agent(replay, method, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"discount": 1.5}, "at most 1"), ({"lr": 0.0}, "lr must be above 0"), ({"width": 0}, "width must be")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        TD3BC(**settings)
    with pytest.raises(ConfigError, match="expectile"):
        IQL(expectile=1.0)


def test_the_verb_trains_tries_and_collects(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torchrl")
    pytest.importorskip("gymnasium")
    from gendesign.rl.collecting import collect

    monkeypatch.chdir(tmp_path)
    write_trajectories(collect("Pendulum-v1", num_steps=400, seed=0), "real.npz")
    words = ["train-agent", "real.npz", "method=iql", "width=8", "steps=3", "episodes=2"]
    assert cli.main([*words, "out=a", "synthetic=real.npz", "share=0.3"]) == 0
    said = capsys.readouterr().out
    agent = load_agent("a")
    returns = evaluate(agent.act, "Pendulum-v1", episodes=2, seed=0)
    assert f"mean return of 2 episodes of Pendulum-v1: {returns.mean():.1f}" in said
    assert not (tmp_path / "a.checkpoint").exists()
    assert (
        cli.main(["collect", "Pendulum-v1", "policies=agent:a,agent:a@0.5", "num_steps=400", "out=b.npz"])
        == 0
    )
    assert "agent:a@0.5" in capsys.readouterr().out
    for more, message in (
        (["out=a"], "exists"),
        (["out=c", "metod=iql"], "expected a whole|did you mean 'method'"),
        (["out=c", "method=iqk"], "did you mean 'iql'"),
        (["out=c", "discount=2"], "at most 1"),
        (["out=c", "share=2", "synthetic=real.npz"], "share"),
        (["out=c", "turns=2"], "name its backbone"),
        (["out=c", "backbone=rl-pendulum"], "steps does not go with backbone"),
    ):
        assert cli.main([*words, *more]) == 2
        assert re.search(message, capsys.readouterr().err), message
