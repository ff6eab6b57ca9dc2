"""A backbone: codec + process + denoiser. It is trained, sampled, evaluated, saved and loaded as one thing.

What it does in training is in `gendesign.learner`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.building import Configurable, describe, finite, whole
from gendesign.codecs import Codec
from gendesign.conditioning import Conditioning, Vectors
from gendesign.designs import Design
from gendesign.determinism import generator
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.process import Prediction, Process
from gendesign.diffusion.solvers import Solver, flow_step
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.learner import Learner
from gendesign.metrics.molecule_reference import MoleculeReference
from gendesign.metrics.reference import Reference, load_reference
from gendesign.models.base import Denoiser
from gendesign.models.conditioned import Conditioned
from gendesign.models.half import Half
from gendesign.pretrained import load_weights, write_pretrained

BLOCK = 64
"""Designs that share a stream of random numbers."""


class Backbone(Configurable, Learner):
    """A generative model of designs.

    Args:
        codec: designs <-> tensors.
        process: the noise.
        denoiser: the network.
        lr: highest learning rate.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        val_times: noise levels a design in validation; in training there is one.
        test_times: noise levels a design in testing.
        seed: of the noise of training, validation and testing.
        muon: train the matrices of hidden layers by `gendesign.muon.Muon`, which needs fewer steps; see there.
        conditioning: what designs are conditioned on, read from the batches; None: nothing, or the `cond` that batches
            bring themselves.
        temperature: at which it is used once trained (masked diffusion only): `load_backbone` sharpens or flattens the
            choice of each token by it, unless told otherwise. Training does not know it.

    Raises:
        ConfigError: the parts do not fit each other.
    """

    def __init__(
        self,
        codec: Codec,
        process: Process,
        denoiser: Denoiser,
        *,
        lr: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        val_times: int = 4,
        test_times: int = 64,
        seed: int = 0,
        muon: bool = False,
        conditioning: Conditioning | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.temperature = finite("temperature", temperature, above=0.0)
        if self.temperature != 1 and not isinstance(process, MaskedDiffusion):
            raise ConfigError("a temperature is of masked diffusion; leave it out")
        parts = (codec, process, denoiser)
        tokens = {type(part).__name__: part.vocab_size for part in parts if hasattr(part, "vocab_size")}
        if len(set(tokens.values())) > 1:
            listing = ", ".join(f"{name} has {size}" for name, size in tokens.items())
            raise ConfigError(f"codec, process and denoiser need the same number of tokens: {listing}")
        process.check_denoiser(denoiser)
        if conditioning is not None:
            conditioning.check(denoiser)
        self.conditioning = conditioning
        self.process = process
        self.denoiser = denoiser
        self.lr, self.weight_decay, self.warmup_steps = lr, weight_decay, warmup_steps
        self.val_times = whole("val_times", val_times)
        self.test_times = whole("test_times", test_times)
        self.seed, self.muon = seed, muon
        self.folder: Path | None = None
        self.trusted: tuple[str, ...] = ()  # packages of the user's that it may be of, and so what came of it
        self.provenance: dict[str, Any] = {}
        self._reference: Reference | MoleculeReference | None = None
        self.codec = codec.of(self)

    # Use ---------------------------------------------------------------------------------------------------------

    def predict(
        self, x_t: Tensor, t: Float[Tensor, " B"], cond: Any = None, *, template: Tensor | None = None
    ) -> Prediction:
        """Ask the network about noisy states, each at its own time."""
        return self.process.predict(self.denoiser, x_t, t, cond, template=template)

    def conditioned_on(self, label: float | Sequence[float], *, guidance_scale: float = 1.0) -> Backbone:
        """The same backbone, bound to a label: p(x | c), or with classifier-free guidance toward it.

        Args:
            label: a class, a score, a length, or several numbers, as in the targets that it was trained with.
            guidance_scale: w: 0 is p(x), 1 is p(x | c), more goes further; other than these cost two network rows.

        Raises:
            UnsupportedError: it was trained without labels.
            ConfigError: no such label.
        """
        if not isinstance(self.conditioning, Vectors):
            raise UnsupportedError(
                "this backbone knows no labels; train one with conditioning=, or steer by a reward"
            )
        vector = self.conditioning.label(label).tolist()
        bound = Conditioned(self.denoiser, vector, guidance_scale=guidance_scale)
        other = self.with_denoiser(bound, label=label, guidance_scale=guidance_scale)
        other.conditioning = None
        other.init_args["conditioning"] = None
        return other

    def with_denoiser(self, denoiser: Denoiser, **provenance: Any) -> Backbone:
        """The same codec and process around another denoiser, usually one that wraps this one's.

        Args:
            denoiser: it is moved to this backbone's device and evaluated.
            provenance: what runs write down of the change.
        """
        other = copy.copy(self)
        other._modules = self._modules.copy()
        other.denoiser = denoiser.to(self.device).eval()
        other.init_args = self.init_args | {"denoiser": other.denoiser}
        other.provenance = self.provenance | provenance
        other.codec = self.codec.of(other)
        return other

    def in_bfloat16(self) -> Backbone:
        """The same backbone with matrix products in bfloat16: faster on processors that have units for it."""
        return self.with_denoiser(Half(self.denoiser), precision="bfloat16")

    @torch.no_grad()
    def sample(
        self, num: int, *, steps: int = 80, seed: int = 0, template: Any = None, solver: Solver | None = None
    ) -> list[Any]:
        """Draw unsteered designs.

        Args:
            num: how many.
            steps: reverse steps of the grid.
            seed: block i of 64 designs depends on (seed, i) and its own size alone.
            template: for sequences one letter a position, '*' where free; for vectors see their codec.
            solver: a solver of the probability flow instead of random transitions (continuous processes only).

        Returns:
            The designs.

        Raises:
            UnsupportedError: a solver for a process that has no flow, or a template for a codec that has none.
        """
        whole("num", num), whole("steps", steps)
        given, free = None, self.codec.length
        codec = self.codec if template is None else self.codec.under(template)
        if template is not None:
            given, fixed = self.codec.encode_template(template)
            given, free = given.to(self.device), int((~fixed).sum())
        times = self.process.times(self.process.num_steps(steps, free))
        designs: list[Any] = []
        for block, start in enumerate(range(0, num, BLOCK)):
            noise = generator(seed, "sample", block, device=self.device)
            x = self.process.prior(
                min(BLOCK, num - start), self.codec.length, generator=noise, template=given
            )
            t: Tensor | None = None
            for step in range(len(times) - 1):
                t = self.process.event_time(x, t, step, times, generator=noise)
                s = times[step + 1].to(t).expand(len(x))
                seen = self.predict(x, t, template=given)
                x, _ = self.advance(seen, x, t, s, template=given, solver=solver, generator=noise)
            designs += codec.decode(x)
        return designs

    def advance(
        self,
        prediction: Prediction,
        x: Tensor,
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        *,
        generator: Generator,
        template: Tensor | None = None,
        solver: Solver | None = None,
    ) -> tuple[Tensor, int]:
        """Take one unsteered reverse step.

        Args:
            prediction: at (x, t).
            x: states.
            t: their times.
            s: the next ones.
            generator: source of the noise.
            template: given coordinates.
            solver: instead of a random transition.

        Returns:
            The new states, and the network rows that the solver spent.

        Raises:
            UnsupportedError: the process has no flow to solve.
        """
        process = self.process
        if solver is None:
            return process.transition(prediction, x, t, s).sample(1, generator=generator)[0], 0
        solved = flow_step(
            solver, process, self.denoiser, prediction, x, t, s, generator=generator, template=template
        )
        return solved.x, solved.rows

    def log_likelihood(
        self, designs: Sequence[Design], *, num_times: int | None = None, seed: int = 0, alike: bool = False
    ) -> Float[Tensor, " B"]:
        """An estimate of log p(design): of a lower bound for masked diffusion, by the flow for continuous processes.

        Args:
            designs: to be judged.
            num_times: noise levels a design; the error falls with it. None: 64, for continuous processes 18.
            seed: of the noise.
            alike: every design meets the same noise; see `Process.log_likelihood`.

        Returns:
            nats a design (a log-density in the user's units where designs are numbers), float64.

        Raises:
            DesignError: the codec cannot encode a design.
        """
        if num_times is None:
            num_times = 18 if isinstance(self.process, PoissonFlow) else 64
        x = self.codec.encode(designs).to(self.device)
        noise = generator(seed, "log_likelihood", device=self.device)
        nats = self.process.log_likelihood(
            self.denoiser, x, num_times=num_times, generator=noise, alike=alike
        )
        return nats + self.codec.log_volume

    @property
    def reference(self) -> Reference | MoleculeReference | None:
        """What reports compare designs with, where the backbone's folder has it."""
        path = None if self.folder is None else self.folder / "reference.safetensors"
        if self._reference is None and path is not None and path.is_file():
            self._reference = load_reference(path)
        return self._reference

    # Saving ------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Save config.yaml and model.safetensors; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {
            "kind": "backbone",
            "codec": describe(self.codec),
            "process": describe(self.process),
            "denoiser": describe(self.denoiser),
            "training": dict(training) if training is not None else self.provenance.get("training", {}),
        }
        if self.conditioning is not None:
            config["conditioning"] = describe(self.conditioning)
        if self.temperature != 1:
            config["temperature"] = self.temperature
        if "init" in self.provenance:  # what the weights were continued from
            config["init"] = self.provenance["init"]
        write_pretrained(folder, config, self.denoiser.state_dict())

    def load_weights(self, source: Backbone) -> None:
        """Take the weights of another backbone, to continue from them.

        Raises:
            CheckpointError: the networks differ.
        """
        load_weights(self.denoiser, source.denoiser.state_dict(), str(source.folder or "the given backbone"))
        self.provenance["init"] = {key: source.provenance.get(key) for key in ("name", "weights_sha256")}
