"""Objects from configurations, and configurations from objects, without running code from a file.

One dialect everywhere: `{class_path: package.Class, init_args: {...}}`, nested at will. A configuration that
came with a checkpoint is somebody else's file: it may name only gendesign classes of the kinds that the caller
expects. Anything else must be trusted by the user, package by package.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from gendesign.errors import ConfigError, GendesignError, TrustError

_Class = TypeVar("_Class", bound=type)
_TRUSTED: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


class Configurable:
    """Mixin: an instance remembers the arguments it was built with, so that `describe` can write them down."""

    init_args: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            _record_arguments(cls)


def _record_arguments(cls: type) -> None:
    original = cls.__dict__["__init__"]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if "init_args" not in self.__dict__:  # the outermost constructor is the one to repeat, not a parent's
            bound = signature.bind(self, *args, **kwargs)
            given = dict(list(bound.arguments.items())[1:])
            for parameter in signature.parameters.values():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    given.update(given.pop(parameter.name, {}))
            object.__setattr__(self, "init_args", given)
        original(self, *args, **kwargs)

    cls.__init__ = init  # type: ignore[misc]


def describe(value: Any) -> Any:
    """The configuration that rebuilds `value`.

    Args:
        value: a `Configurable`, a dataclass-like constant, a container of these, or a plain YAML value.

    Returns:
        Plain YAML data; `inf` is written as the string ".inf" by YAML itself.

    Raises:
        ConfigError: the value is an object that does not remember its arguments.
    """
    if isinstance(value, Configurable):
        cls = type(value)
        given = value.__dict__.get("init_args", {})
        if dataclasses.is_dataclass(value):  # its constructor is made after the class body: read the fields
            given = {
                field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init
            }
        arguments = {key: describe(item) for key, item in given.items()}
        return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()  # NumPy's numbers and arrays, which YAML does not know
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, Sequence):
        return [describe(item) for item in value]
    if hasattr(value, "__fspath__"):
        return str(value)
    raise ConfigError(
        f"cannot write {type(value).__name__} into a configuration: expected plain values or gendesign "
        "objects; derive the class from gendesign.building.Configurable"
    )


def build(config: Any, *, kinds: tuple[type, ...] = (), trust: Sequence[str] = ()) -> Any:
    """Instantiate a configuration, refusing code that nobody trusted.

    Args:
        config: plain YAML data; every mapping with a `class_path` becomes an object, innermost first.
        kinds: the base classes that a configuration may name. Empty: any subclass of `Configurable`.
        trust: top-level packages, besides gendesign, whose classes and functions may be named.

    Returns:
        The object, or the plain value where `config` names no class.

    Raises:
        TrustError: a class outside gendesign, or of another kind, is named.
        ConfigError: an argument that the class does not have, or a value it refuses.
    """
    if isinstance(config, Mapping):
        if "class_path" not in config:
            return {key: build(item, kinds=kinds, trust=trust) for key, item in config.items()}
        unknown = set(config) - {"class_path", "init_args"}
        if unknown:
            raise ConfigError(
                f"expected only class_path and init_args, got also {', '.join(sorted(map(str, unknown)))}"
            )
        cls = resolve(str(config["class_path"]), kinds=kinds, trust=trust)
        given = config.get("init_args") or {}
        if not isinstance(given, Mapping):
            raise ConfigError(f"init_args of {config['class_path']} must be a mapping, got {given!r}")
        check_arguments(cls, given)
        arguments = {key: build(item, kinds=kinds, trust=trust) for key, item in given.items()}
        try:
            with trusting(trust):
                return cls(**arguments)
        except GendesignError:
            raise
        except Exception as error:
            if not isinstance(error, TypeError) and cls.__module__.partition(".")[0] == "gendesign":
                raise  # a bug of ours, and not what somebody wrote into a file
            raise ConfigError(f"{config['class_path']}: {error or type(error).__name__}") from error
    if isinstance(config, (list, tuple)):
        return [build(item, kinds=kinds, trust=trust) for item in config]
    return config


def resolve(path: str, *, kinds: tuple[type, ...] = (), trust: Sequence[str] = ()) -> Any:
    """The class that a dotted path names, if it may be named.

    Args:
        path: `package.module.Class`.
        kinds: as in `build`.
        trust: as in `build`.

    Raises:
        TrustError: the path leaves gendesign and the trusted packages, or names no class of the allowed kinds.
        ConfigError: there is no such class.
    """
    package = path.partition(".")[0]
    if package != "gendesign":
        _check_trust(path, package, trust)
    value = _import(path)
    # its own module decides: gendesign.run.os.system is not ours although its path begins so
    home = _home(value)
    if "gendesign" in (package, home):
        allowed = kinds or (Configurable,)
        if not (home == "gendesign" and isinstance(value, type) and issubclass(value, allowed)):
            names = ", ".join(kind.__name__ for kind in allowed)
            raise TrustError(f"the configuration names {path}; expected a gendesign class of kind {names}")
    else:
        _check_trust(path, home, trust)
    return value


@contextmanager
def trusting(packages: Sequence[str]) -> Iterator[None]:
    """Within, packages that the user trusts are trusted by what is built, too: such as the weights that it loads."""
    token = _TRUSTED.set((*_TRUSTED.get(), *packages))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def _check_trust(path: str, package: str, trust: Sequence[str]) -> None:
    if package in trust or package in _TRUSTED.get():
        return
    # nobody has a reason to trust the standard library: such a configuration is an attack, or a mistake
    advice = f". If you wrote or checked that code, allow it with trust=[{package!r}] (command line: "
    advice += f"--trust {package})"
    if package in sys.stdlib_module_names:
        advice = "; Python's own modules are no part of a configuration: do not use this file"
    raise TrustError(
        f"the configuration names {path}, code outside gendesign; expected a gendesign class{advice}"
    )


def _home(value: Any) -> str:
    """The top-level package in which a class or function was written, or the class of another object."""
    while isinstance(value, functools.partial):
        value = value.func
    return (getattr(value, "__module__", None) or "builtins").partition(".")[0]


def _import(path: str) -> Any:
    module_name, _, rest = path, "", ""
    while module_name:
        try:
            value: Any = importlib.import_module(module_name)
            break
        except ModuleNotFoundError as error:
            if error.name is not None and not module_name.startswith(error.name):
                # the module exists; something that it imports does not
                raise ConfigError(f"{module_name} cannot be imported: {error}") from error
            module_name, _, last = module_name.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        except GendesignError:
            raise
        except Exception as error:  # of a user's own module
            text = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{module_name} cannot be imported: {text}") from error
    else:
        raise ConfigError(f"no module named {path!r}")
    for name in filter(None, rest.split(".")):
        if not hasattr(value, name):
            near = difflib.get_close_matches(name, [n for n in dir(value) if not n.startswith("_")], n=1)
            raise ConfigError(
                f"{path}: {module_name} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
        value = getattr(value, name)
    return value


def check_arguments(cls: Any, given: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming the nearest valid one, if `given` has an argument that `cls` does not take."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for key in given:
        if key not in parameters:
            near = difflib.get_close_matches(str(key), list(parameters), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(parameters) or 'nothing'}"
            raise ConfigError(f"{getattr(cls, '__name__', cls)} has no argument {key!r}; {hint}")
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and name not in given and p.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    if missing:
        raise ConfigError(f"{getattr(cls, '__name__', cls)} needs a value for {', '.join(missing)}")


def finite(name: str, value: float, *, above: float = -math.inf, at_least: float = -math.inf) -> float:
    """Return `value` as a float if it is a finite number in range; otherwise raise a one-line ConfigError."""
    # compared, since a whole number may be too large for a float; NaN is not at most anything
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise ConfigError(f"{name} must be a finite number, got {value!r}")
    if value <= above:
        raise ConfigError(f"{name} must be above {above:g}, got {value:g}")
    if value < at_least:
        raise ConfigError(f"{name} must be at least {at_least:g}, got {value:g}")
    return float(value)


def whole(name: str, value: int, *, at_least: int = 1) -> int:
    """Return `value` if it is an integer of at least `at_least`; otherwise raise a one-line ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
    return value
