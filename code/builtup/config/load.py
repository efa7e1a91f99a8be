"""Configs: Python files of constants (the settings) and functions (what must be built).

    base = "baseline_lwrefinenet.py"        # another file's names first; two levels at most
    lr = 0.05                               # a setting: number, text, true/false, None or a tuple

    def optimizer(model):                   # a builder: gets by name what was built before it
        return SGD(model.parameters(), lr=lr)

Loading runs the files in one namespace and replaces the overridden constants there, so functions
of a base see the settings of the file that builds on it. Nothing is built and no data is read
until `Config.build`. A config is code: run only those that you trust.

Builders, in order: model() · train_loader() · val_loader() · train_eval_loader() · criterion() ·
optimizer(model) · lr_scheduler(optimizer, total_steps) · prepare_batch(), which returns
(batch, device, non_blocking) -> (power, target). Each may name any earlier one as a parameter,
and `device` and `total_steps` (optimiser steps of the whole run).
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builtup.config.overrides import describe_kinds, kinds_of, parse_value, split_overrides
from builtup.config.settings import KNOWN
from builtup.config.shipped import found
from builtup.errors import ConfigError

__all__ = ["BUILDERS", "Config", "MissingSetting", "config_name", "load", "load_logged"]

BUILDERS = (
    "model",
    "train_loader",
    "val_loader",
    "train_eval_loader",
    "criterion",
    "optimizer",
    "lr_scheduler",
    "prepare_batch",
)
PROVIDED = ("device", "total_steps")
MAX_BASES = 2


class MissingSetting(ConfigError, AttributeError):
    """A setting that a script needs and the config does not have."""


@dataclass
class Config:
    """A loaded config: settings resolved, nothing built.

    Settings are attributes (`config.num_epochs`). `chain` holds the files, base first, `sources`
    their text. `num_processes` is what the launcher was asked for.
    """

    path: Path
    chain: tuple[Path, ...]
    sources: tuple[str, ...]
    overrides: tuple[str, ...]
    settings: dict[str, Any]
    num_processes: int = 1
    built: dict[str, Any] = field(default_factory=dict)
    _functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "settings":
            raise AttributeError(name)
        if name in self.settings:
            return self.settings[name]
        wanted = KNOWN.get(name)
        expected = describe_kinds(kinds_of(wanted.kind)) if wanted else "a setting"
        raise MissingSetting(f"{self.path}: {name} is missing; add {name} = … ({expected})")

    @property
    def name(self) -> str:
        """The file's name, with its folders below configs/train: `no_val/baseline_x`."""
        return config_name(self.path)

    def get(self, name: str, default: Any = None) -> Any:
        """A setting, or `default` where the config has none."""
        return self.settings.get(name, default)

    def has(self, builder: str) -> bool:
        """Whether the config defines a builder."""
        return builder in self._functions

    def require(self, *names: str) -> None:
        """Raise MissingSetting for the first setting or builder that the config lacks."""
        for name in names:
            if name in BUILDERS:
                if not self.has(name):
                    raise MissingSetting(
                        f"{self.path}: {name} is missing; define the function {name}(…)"
                    )
            else:
                getattr(self, name)

    def provide(self, **values: Any) -> None:
        """Offer `device` or `total_steps` to the builders that follow."""
        self.built.update(values)

    def build(self, name: str) -> Any:
        """Run a builder, once, with what it names of that built before; None where undefined."""
        if name not in self.built:
            function = self._functions.get(name)
            self.built[name] = None if function is None else function(**self._arguments(function))
        return self.built[name]

    def _arguments(self, function: Callable[..., Any]) -> dict[str, Any]:
        arguments = {}
        for parameter in inspect.signature(function).parameters.values():
            if self.built.get(parameter.name) is not None:
                arguments[parameter.name] = self.built[parameter.name]
            elif parameter.default is inspect.Parameter.empty:
                raise ConfigError(
                    f"{self.path}: {function.__name__}({parameter.name}) asks for what was not "
                    f"built; define {parameter.name}, or build in the order {', '.join(BUILDERS)}"
                )
        return arguments


def config_name(path: Path) -> str:
    """The name of the config in a file, which need not be there: `no_val/baseline_x`."""
    parts = path.with_suffix("").parts
    below = [i + 2 for i, part in enumerate(parts[:-2]) if part == "configs"]
    return "/".join(parts[below[-1] :]) if below else parts[-1]


def load(path: Path | str, overrides: str = "") -> Config:
    """Read a config file, its bases and overrides (`"num_epochs=3 val_fold=Mosul"`).

    Raises ConfigError, in one line that names the file, the setting and what was expected.
    """
    path = found(Path(path))
    chain = _chain(path)
    sources = tuple(_read(file) for file in chain)
    return _resolve(path, chain, sources, split_overrides(overrides))


def load_logged(folder: Path, **replaced: Any) -> Config:
    """The config as a run logged it: `folder` holds settings.json and the files it names.

    `replaced` settings take the place of the logged ones where the config has them.
    """
    record = folder / "settings.json"
    try:
        logged = json.loads(record.read_text(encoding="utf-8"))
        chain = tuple(folder / name for name in logged["files"])
        settings = {key: _from_json(value) for key, value in logged["settings"].items()}
    except (OSError, ValueError, KeyError) as e:
        raise ConfigError(
            f"{record}: no logged config can be read ({e}); choose a training run of builtup"
        ) from e
    settings |= {key: value for key, value in replaced.items() if key in settings}
    sources = tuple(_read(file) for file in chain)
    return _resolve(chain[-1], chain, sources, (), settings)


def _chain(path: Path) -> tuple[Path, ...]:
    """The files to run, base first."""
    chain = [path]
    while (base := _base_of(chain[0])) is not None:
        if len(chain) > MAX_BASES:
            raise ConfigError(
                f"{path}: base goes deeper than {MAX_BASES} levels "
                f"({' → '.join(file.name for file in reversed(chain))}); take {base.name} as base"
            )
        if not base.is_file():
            raise ConfigError(
                f"{chain[0]}: base = {base.name!r} does not exist; "
                f"give a file relative to {chain[0].parent}, or one of builtup's own (configs/…)"
            )
        chain.insert(0, base)
    return tuple(chain)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason}); check config_path") from e


def _parse(path: Path, source: str) -> ast.Module:
    try:
        return ast.parse(source, str(path))
    except SyntaxError as e:
        raise ConfigError(f"{path}: line {e.lineno}: {e.msg}; correct the Python") from e


def _base_of(path: Path) -> Path | None:
    for node in _parse(path, _read(path)).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "base" for target in node.targets
        ):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                return found(path.parent / node.value.value, Path(node.value.value))
            raise ConfigError(f"{path}: base is computed; expected the file's name as text")
    return None


def _resolve(
    path: Path,
    chain: tuple[Path, ...],
    sources: tuple[str, ...],
    overrides: tuple[tuple[str, str], ...],
    replaced: Mapping[str, Any] | None = None,
) -> Config:
    namespace: dict[str, Any] = {"__name__": "builtup_config"}
    trees = [_parse(file, source) for file, source in zip(chain, sources, strict=True)]
    for file, tree in zip(chain, trees, strict=True):
        _execute(file, tree, namespace)
    functions: dict[str, Callable[..., Any]] = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, types.FunctionType) and value.__globals__ is namespace
    }
    _refuse_other_builders(path, namespace, functions)
    constants = {name: value for name, value in namespace.items() if _is_constant(name, value)}
    _refuse_unknown(path, constants, functions, _names_read(trees))
    for name, known in KNOWN.items():
        if known.default is not ...:
            constants.setdefault(name, known.default)
    for name, text in overrides:
        constants[name] = _overridden(path, name, text, constants)
    constants.update(replaced or {})
    for name, value in constants.items():
        constants[name] = _checked(path, name, value)
    namespace.update(constants)
    builders = {name: functions[name] for name in BUILDERS if name in functions}
    _check_signatures(path, builders)
    given = tuple(f"{name}={text}" for name, text in overrides)
    return Config(path, chain, sources, given, constants, _functions=builders)


def _execute(path: Path, tree: ast.Module, namespace: dict[str, Any]) -> None:
    namespace["__file__"] = str(path)
    try:
        exec(compile(tree, str(path), "exec"), namespace)
    except Exception as e:
        line = next((entry.tb_lineno for entry in _frames(e, str(path))), 0)
        raise ConfigError(
            f"{path}: line {line}: {type(e).__name__}: {e}; correct the config"
        ) from e


def _frames(e: BaseException, filename: str) -> Iterable[types.TracebackType]:
    trace = e.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            yield trace
        trace = trace.tb_next


def _is_constant(name: str, value: Any) -> bool:
    return not (
        name.startswith("_")
        or name == "base"
        or callable(value)
        or isinstance(value, types.ModuleType)
        or type(value).__name__ == "_Feature"  # from __future__ import annotations
    )


def _names_read(trees: Iterable[ast.Module]) -> set[str]:
    return {
        node.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _refuse_unknown(
    path: Path, constants: Iterable[str], functions: Iterable[str], used: set[str]
) -> None:
    """A typing mistake must not pass in silence: what nothing reads is unknown."""
    for name in functions:
        if name not in BUILDERS and name not in used and not name.startswith("_"):
            raise ConfigError(
                f"{path}: function {name} is unknown{_meant(name, BUILDERS)}; "
                f"expected one of {', '.join(BUILDERS)}"
            )
    for name in constants:
        if name not in KNOWN and name not in used:
            raise ConfigError(
                f"{path}: setting {name} is unknown, nothing reads it{_meant(name, KNOWN)}; "
                "correct its name or remove it"
            )


def _refuse_other_builders(path: Path, namespace: Iterable[str], functions: Iterable[str]) -> None:
    """What is imported or assigned under a builder's name would be passed over in silence."""
    for name in BUILDERS:
        if name in namespace and name not in functions:
            raise ConfigError(
                f"{path}: {name} is no function of this file; write def {name}(…): return …"
            )


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _overridden(path: Path, name: str, text: str, constants: Mapping[str, Any]) -> Any:
    known = KNOWN.get(name)
    if known is None and name not in constants:
        raise ConfigError(
            f"{path}: override {name}={text} matches no setting{_meant(name, constants)}; "
            f"expected one of {', '.join(sorted(constants))}"
        )
    example = constants.get(name)
    kinds = kinds_of(known.kind) if known else ((object,) if example is None else (type(example),))
    try:
        return parse_value(text, kinds, example)
    except ValueError as e:
        raise ConfigError(f"{path}: override {name}={text}: expected {e}") from e


def _checked(path: Path, name: str, value: Any) -> Any:
    known = KNOWN.get(name)
    kinds = kinds_of(known.kind) if known else (bool, int, float, str, tuple, type(None))
    if float in kinds and type(value) is int and int not in kinds:
        return float(value)
    if type(value) not in kinds:
        raise ConfigError(f"{path}: {name} = {value!r}: expected {describe_kinds(kinds)}")
    return value


def _check_signatures(path: Path, builders: Mapping[str, Callable[..., Any]]) -> None:
    for name, function in builders.items():
        allowed = (*BUILDERS[: BUILDERS.index(name)], *PROVIDED)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in allowed and parameter.default is inspect.Parameter.empty:
                raise ConfigError(
                    f"{path}: {name}({parameter.name}): unknown parameter"
                    f"{_meant(parameter.name, allowed)}; expected {', '.join(allowed)}"
                )


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
