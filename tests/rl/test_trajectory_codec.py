"""Rows to numbers and back; segments stay within their episode."""

import numpy as np
import pytest
import torch

from gendesign.data.training_arrays import describe_arrays
from gendesign.errors import ConfigError, DataError
from gendesign.rl.policies import Trajectories as Readable
from gendesign.rl.segments import SegmentDataModule, cut
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import write_trajectories


def counted(lengths: list[int]) -> Trajectories:
    """The observation counts steps, over all episodes without a step between two of them."""
    episodes, start = [], 0
    for number, steps in enumerate(lengths):
        last = np.arange(steps) == steps - 1
        count = start + np.arange(steps + 1.0)
        episodes.append(
            Episode(
                np.stack([count, np.full(steps + 1, number) + 0.1 * np.sin(count)], 1),
                np.cos(count[:-1, None]) * 2,
                np.sin(count[:-1]),
                last & (number == 0),
                last & (number != 0),
            )
        )
        start += 1000
    return Trajectories(tuple(episodes), np.array([-2.0]), np.array([2.0]))


def truncated(lengths: list[int]) -> Trajectories:
    """The same without any termination."""
    return Trajectories(counted([1, *lengths]).episodes[1:], np.array([-2.0]), np.array([2.0]))


def codec(steps: int = 4) -> TrajectoryCodec:
    return TrajectoryCodec(2, [-2.0], [2.0], steps=steps)


def test_segments_never_cross_an_episodes_end():
    rows, names = cut(counted([6, 3, 9]), 4)
    assert names == ["0"] * 6 + ["2"] * 6
    assert [len(set(np.round(r[:, 1]))) for r in rows] == [1] * 12
    assert np.array_equal(np.diff(rows[6:, :, 0]), np.ones((6, 3)))
    assert len(cut(counted([3, 9]), 4, stride=2)[0]) == 2 + 3
    with pytest.raises(DataError, match="no episode has 10 steps, the longest 9"):
        cut(truncated([9]), 10)


def test_an_episode_that_terminated_stays_in_its_last_state():
    rows, _ = cut(counted([6, 3, 9]), 4)
    first = rows[:6]  # one a step of the episode, so that ends are as frequent as in the data
    assert first[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert first[-1, :, 0].tolist() == [5, 6, 6, 6]
    assert first[-1, :, -1].tolist() == [1, 1, 1, 1] and not first[0, :, -1].any()
    assert (first[-1, 1:, 2] == 0).all() and (first[-1, 1:, 3] == 0).all()
    assert not rows[6:, :, -1].any()


def test_round_trip_within_the_clip_and_statistics():
    rows, _ = cut(counted([60, 50]), 4)
    fitted = codec().fit(rows)
    x = fitted.encode(list(rows))
    assert torch.isfinite(x).all()
    table = x.double().reshape(-1, 5)
    torch.testing.assert_close(table[:, :4].mean(0), torch.zeros(4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(table[:, :4].std(0, correction=0), torch.ones(4).double(), atol=1e-5, rtol=0)
    assert set(table[:, 4].tolist()) == {-1.0, 1.0}
    back = np.stack(fitted.decode(x))
    assert np.abs(back[..., [0, 1, 3, 4]] - rows[..., [0, 1, 3, 4]]).max() < 1e-4
    inside = np.clip(rows[..., 2], -1.98, 1.98)
    assert np.abs(back[..., 2] - inside).max() < 1e-5
    assert np.abs(fitted.decode(100 * x)[0][:, 2]).max() <= 2


def test_policies_and_gradients_read_it():
    fitted = codec().fit(cut(counted([60]), 4)[0])
    assert isinstance(fitted, Readable)
    assert (fitted.observation_columns, fitted.action_columns) == ([0, 1], [2])
    x = torch.zeros(2, 20, requires_grad=True)
    fitted.relax(x)[..., 2].sum().backward()
    assert (x.grad.reshape(2, 4, 5).abs().sum((0, 1)) > 0).tolist() == [False, False, True, False, False]


def test_constant_rewards_are_kept():
    rows, _ = cut(counted([60]), 4)
    rows[..., 3] = 1.0
    fitted = codec().fit(rows)
    assert np.allclose(np.stack(fitted.decode(fitted.encode(list(rows))))[..., 3], 1.0)


@pytest.mark.parametrize("given", [{"action_low": [2.0]}, {"action_high": [2.0, 2.0]}, {"clip": 0.0}])
def test_refusals(given):
    with pytest.raises(ConfigError):
        TrajectoryCodec(**{"observations": 2, "action_low": [-2.0], "action_high": [2.0]} | given)


def test_the_data_module_keeps_episodes_together(tmp_path):
    path = write_trajectories(counted([20] * 20), tmp_path / "a.npz")
    data = SegmentDataModule(str(path), codec(), batch_size=8)
    data.setup("fit")
    sides = [{data.arrays.columns["episode"][i] for i in data.indices(s)} for s in ("train", "val", "test")]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and data.codec.is_fitted
    assert data.collate(data.indices("train")[:8])["x"].shape == (8, 20)
    assert np.allclose(data.arrays.targets[:, 0], data.arrays.designs[:, :, 3].sum(1))
    assert describe_arrays(data)["environment"] == "" and describe_arrays(data)["stride"] == 1
    wrong = SegmentDataModule(str(path), TrajectoryCodec(3, [-2.0], [2.0], steps=4))
    with pytest.raises(DataError, match="rows have 5 numbers, the codec 6"):
        wrong.setup("fit")
