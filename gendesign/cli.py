"""The command line: `gendesign VERB ...`.

    gendesign design reward=dna-expression steering=svdd steering.candidates=20 num_designs=64 out=outputs/run1

A wrong word ends in one line on standard error and exit code 2; Ctrl-C in one line and 130. The verbs' work is in
`gendesign.command.verbs`, `scoring`, `comparing` and `fetch`, imported when one is called, so that `--help` is quick.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from gendesign.errors import ConfigError, GendesignError

TRAINING = ("fit", "fit-value", "finetune", "validate", "test")
VERBS = (
    "design",
    "compare",
    "check",
    "list",
    "score",
    "data",
    "collect",
    "synthesize",
    "train-agent",
    *TRAINING,
)
COMPARE_WORDS = """name or file of a configuration, then key=value: methods=[NAME,...], tasks=[NAME,...], what they
are made of (methods.NAME.alpha=0.1, tasks.NAME.steps=40), seeds, network_evaluations=[...], reward_calls=[...], device,
out"""
EPILOG = """\
examples:
  gendesign design                                    64 yeast promoters of high expression
  gendesign design num_designs=8 steering=best_of_n steering.candidates=50 out=outputs/b50
  gendesign design backbone=my/folder reward=my_reward.yaml --trust my_module
  gendesign compare yeast_promoters out=outputs/compared --jobs 4
  gendesign check medium-specific                     what would run, and what it would cost
  gendesign score sequences.fasta reward=dna-expression out=scores.csv
  gendesign design images                             handwritten digits that compress well
  gendesign collect Pendulum-v1 out=pendulum.npz      trajectories of policies from poor to good
  gendesign synthesize policy=swing-up num_steps=100000 out=minari:pendulum/guided-v0
  gendesign train-agent pendulum.npz method=iql       an agent of offline reinforcement learning
  gendesign data get yeast_native_promoters_1011
  gendesign fit --config configs/train/dna_yeast_promoter.yaml
  gendesign finetune --config configs/finetune/dna_yeast_promoter.yaml
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see: {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The parser of every verb; training verbs hand their words to Lightning's."""
    top = _Parser(
        prog="gendesign",
        description="Sample designs from a diffusion backbone, steered by a reward.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    composed = argparse.ArgumentParser(add_help=False, parents=[common])
    composed.add_argument(
        "--config-dir", metavar="DIR", help="a folder with your own backbone/ reward/ steering/"
    )
    composed.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let configurations name this package's classes",
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)

    def verb(name: str, about: str, *, parent: Any) -> Any:
        sub = verbs.add_parser(name, help=about, description=about, parents=[parent], allow_abbrev=False)
        return sub

    words_help = "name or file of a configuration, then key=value: backbone=, reward=, heldout=, steering=, "
    words_help += (
        "their arguments (steering.candidates=20), num_designs, steps, seed, template, start, remask, "
    )
    words_help += "out, device"
    design = verb("design", "sample steered designs", parent=composed)
    design.add_argument("words", nargs="*", metavar="[CONFIG] key=value", help=words_help)
    design.add_argument("--resume", action="store_true", help="continue the run in `out`")
    design.add_argument("--quiet", action="store_true", help="no progress")
    compare = verb("compare", "run several methods at equal budgets, and compare them", parent=composed)
    compare.add_argument("words", nargs="*", metavar="CONFIG key=value", help=COMPARE_WORDS)
    compare.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, in as many processes"
    )
    compare.add_argument(
        "--ray", metavar="ADDRESS", help="run on a Ray cluster instead: auto, local, ray://HOST:PORT"
    )
    compare.add_argument("--resume", action="store_true", help="continue the comparison in `out`")
    check = verb("check", "resolve everything and estimate the cost; run nothing", parent=composed)
    check.add_argument("words", nargs="*", metavar="[CONFIG] key=value", help=words_help)
    verb("list", "backbones, rewards, steering methods and public tables", parent=composed)
    score = verb("score", "score the designs of a file, or the pictures of a folder", parent=composed)
    score.add_argument("file", help=".fasta, .csv, .tsv (or with .gz), .parquet, .npz, or a folder of PNG")
    score.add_argument(
        "words", nargs="*", metavar="key=value", help="reward=NAME, its arguments, device=, out=FILE"
    )
    score.add_argument(
        "--column",
        metavar="NAME[,NAME...]",
        help="column of the sequences (default: sequence or design), or the columns of a vector",
    )
    score.add_argument(
        "--processes", type=int, metavar="N", help="score in N worker processes (default: in this one)"
    )
    score.add_argument(
        "--cache", metavar="DIR", help="keep scores here and read those that are there (default: keep none)"
    )
    data = verb("data", "public tables: list, get NAME, path NAME", parent=common)
    data.add_argument("action", choices=["list", "get", "path"])
    data.add_argument("name", nargs="?")
    data.add_argument("--mirror", metavar="URL", help="fetch from here instead of GitHub")
    data.add_argument("--folder", metavar="DIR", help="put the table here instead of the cache")
    collecting = verb("collect", "behaviour data from an environment of gymnasium", parent=common)
    collecting.add_argument("environment", help="a name that gymnasium knows, such as Pendulum-v1")
    collecting.add_argument(
        "words", nargs="*", metavar="key=value",
        help="out=FILE.npz, .hdf5 or minari:ID, policies=WORD,... (random, swing-up@0.5, agent:FOLDER, "
        "module:function), num_steps, seed",
    )  # fmt: skip
    synthetic = verb("synthesize", "synthetic trajectories, steered by a target policy", parent=composed)
    synthetic.add_argument(
        "words", nargs="*", metavar="[CONFIG] key=value",
        help="policy=WORD (swing-up@0.2, agent:FOLDER, module:name), num_steps, horizon, overlap, start=OBSERVATION or "
        "FILE, real=FILE to compare with and to fit filters=return@0.1,terminal,dynamics@0.01 to, report=FILE or null, "
        "out=minari:ID,FILE.hdf5,FILE.npz; backbone=, reward=, steering=, their arguments, steps, seed, device",
    )  # fmt: skip
    synthetic.add_argument("--resume", action="store_true", help="continue the run that writes to `out`")
    synthetic.add_argument("--quiet", action="store_true", help="no progress")
    agent = verb("train-agent", "an agent from trajectories: TD3+BC or IQL", parent=common)
    agent.add_argument("data", help="trajectories: .npz, .hdf5 or minari:ID")
    agent.add_argument(
        "words", nargs="*", metavar="key=value",
        help="method=td3bc or iql, its arguments (discount, lr, width, ...), steps, seed, out=FOLDER, environment, "
        "synthetic=FILE with share=0.5 of each batch, or backbone=NAME with turns, updates, segments, mode, strength",
    )  # fmt: skip
    agent.add_argument("--quiet", action="store_true", help="no progress")
    for name, about in (
        ("fit", "train a backbone or a predictor"),
        ("fit-value", "train the value of noisy states, which steering looks up"),
        ("finetune", "fine-tune a backbone toward a reward"),
        ("validate", "evaluate on the validation rows"),
        ("test", "evaluate on the test rows"),
    ):
        verbs.add_parser(name, help=f"{about} (Lightning CLI; see gendesign {name} --help)", add_help=False)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        try:
            _run(words)
        finally:
            sys.stdout.flush()  # here, where a full disk can still be reported
    except GendesignError as error:
        return _fail(error, " ".join(str(error).split()), 2, debug)
    except KeyboardInterrupt as error:
        return _fail(error, f"interrupted; {_left(words)}", 130, debug)
    except BrokenPipeError:  # `gendesign list | head`
        _forget_output()
        return 0
    except OSError as error:
        _forget_output()
        return _fail(error, " ".join(str(error).split()), 2, debug)
    except Exception as error:  # a bug: say so in one line, and how to see more
        text = " ".join(str(error).split())[:500]
        return _fail(error, f"unexpected {type(error).__name__}: {text} (--debug shows where)", 1, debug)
    return 0


def _forget_output() -> None:
    """What cannot be written now cannot be written at exit either."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # standard output is no file


def _left(words: Sequence[str]) -> str:
    """What an interrupted command leaves, and how to go on."""
    verb = words[0] if words else ""
    if verb in ("fit", "fit-value", "finetune", "train-agent"):
        return "what was finished is on disk, and the same command continues from its last checkpoint"
    if verb in ("design", "compare", "synthesize"):
        return "what was finished is on disk, and --resume continues"
    return "no result was written"


def _fail(error: BaseException, line: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"error: {line}", file=sys.stderr)
    return code


def _run(words: list[str]) -> None:
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        near = difflib.get_close_matches(words[0], VERBS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERBS)}"
        raise ConfigError(f"no verb {words[0]!r}; {hint}")
    if words and words[0] in TRAINING:
        from gendesign.training.command import main as train

        train([word for word in words if word != "--debug"])
        return
    arguments, more = parser().parse_known_args(words)
    unknown = [word for word in more if word.startswith("-") or not hasattr(arguments, "words")]
    if unknown:
        raise ConfigError(f"unrecognised: {' '.join(unknown)} (see: gendesign {arguments.verb or ''} --help)")
    if more:
        arguments.words = [*arguments.words, *more]  # words that stand after an option
    if arguments.version:
        from importlib.metadata import version

        print(version("gendesign"))
    elif arguments.verb is None:
        parser().print_help()
    else:
        if getattr(arguments, "trust", None) and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a trusted package may lie where the user stands
        if arguments.verb == "data":
            from gendesign.command.fetch import data_verb

            return data_verb(arguments)
        if arguments.verb == "collect":
            from gendesign.command.collecting import collect_verb

            return collect_verb(arguments)
        if arguments.verb == "train-agent":
            from gendesign.command.agents import train_agent_verb

            return train_agent_verb(arguments)
        if arguments.verb == "synthesize":
            from gendesign.command.synthesizing import synthesize_verb

            return synthesize_verb(arguments)
        if arguments.verb == "compare":
            from gendesign.command.comparing import compare_verb

            return compare_verb(arguments)
        if arguments.verb == "score":
            from gendesign.command.scoring import score_verb

            return score_verb(arguments)
        from gendesign.command import verbs

        getattr(verbs, f"{arguments.verb}_verb")(arguments)


if __name__ == "__main__":
    sys.exit(main())
