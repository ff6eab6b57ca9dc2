"""Every error a user can meet, by name.

Each message is one line that says what was expected, what came, and what to do. The command line prints
that line and exits with code 2; a program can catch `GendesignError` or one of its kinds.
"""


class GendesignError(Exception):
    """Base of all errors raised on purpose by gendesign."""


class ConfigError(GendesignError):
    """A configuration key or value is wrong."""


class DataError(GendesignError):
    """A table, a FASTA file or one of their rows cannot be used."""


class DesignError(GendesignError):
    """A design or a template does not fit the codec (alphabet, length)."""


class CheckpointError(GendesignError):
    """A saved backbone or reward is missing, damaged, or incompatible with what it is asked to do."""


class TrustError(CheckpointError):
    """A configuration names code that may not be run without the user's consent."""


class RewardError(GendesignError):
    """A reward broke its contract (wrong number of values) or cannot be built."""


class UnsupportedError(GendesignError):
    """A steering method cannot work with this backbone or reward; the message names one that can."""


class TrainingError(GendesignError):
    """A training run cannot go on; what it exported before is kept."""


class OutputError(GendesignError):
    """A result cannot be written, or would overwrite something."""


class MissingExtraError(GendesignError):
    """An optional dependency is not installed.

    Args:
        package: the import that failed.
        extra: the extra of gendesign that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'gendesign[{extra}]'")
