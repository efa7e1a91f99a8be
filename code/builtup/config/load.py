"""Configs: Python files of constants (the settings) and functions (what must be built).

    base = "baseline_lwrefinenet.py"        # another file's names first; four levels at most
    lr = 0.05                               # a setting: number, text, true/false, None or a tuple

    def optimizer(model):                   # a builder: gets by name what was built before it
        return SGD(model.parameters(), lr=lr)

Loading runs the files in one namespace and replaces the overridden constants there, so functions
of a base see the settings of the file that builds on it. Nothing is built and no data is read
until `Config.build`. A config is code: run only those that you trust.

Builders, in order: model() · train_loader() · val_loader() · train_eval_loader() · criterion() ·
lessons(model), a list of `builtup.training.lessons.Lesson` · optimizer(model) ·
lr_scheduler(optimizer, total_steps) · prepare_batch(), which returns
(batch, device, non_blocking) -> (power, target). Each may name any earlier one as a parameter,
and `device` and `total_steps` (optimiser steps of the whole run). A config of configs/search has
space(trial) besides, which returns settings to try ({"lr": trial.suggest_float("lr", …)}).
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import logging
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builtup.config.checks import (
    check_names,
    check_signatures,
    check_value,
    check_values,
    overridden,
    refuse_other_builders,
    refuse_unknown,
    refuse_unread,
)
from builtup.config.modules import Modules
from builtup.config.overrides import describe_kinds, kinds_of, split_overrides
from builtup.config.reads import Reads, names_read
from builtup.config.settings import BUILDERS, FUNCTIONS, KNOWN, SPACE, STUDY
from builtup.config.shipped import found
from builtup.errors import BuiltupError, ConfigError, one_line

__all__ = [
    "BUILDERS",
    "Config",
    "MissingSetting",
    "check_overrides",
    "config_name",
    "load",
    "load_logged",
]

log = logging.getLogger(__name__)

#: Bases of a file: ours have three at most, and a user's own may stand on any of them.
MAX_BASES = 4


class MissingSetting(ConfigError, AttributeError):
    """A setting that a script needs and the config does not have."""


@dataclass
class Config:
    """A loaded config: settings resolved, nothing built.

    Settings are attributes (`config.num_epochs`). `chain` holds the files, base first, `sources`
    their text, `modules` what they import from beside them, `stated` the settings that are no
    defaults. `num_processes` is what the launcher was asked for.
    """

    path: Path
    chain: tuple[Path, ...]
    sources: tuple[str, ...]
    overrides: tuple[str, ...]
    settings: dict[str, Any]
    num_processes: int = 1
    built: dict[str, Any] = field(default_factory=dict)
    modules: Modules = field(default_factory=Modules)
    stated: frozenset[str] = frozenset()
    _functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    _namespace: dict[str, Any] = field(default_factory=dict)

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

    def states(self, name: str) -> bool:
        """Whether a setting stands in the files or the overrides; else it is a default."""
        return name in self.stated

    def has(self, builder: str) -> bool:
        """Whether the config defines a builder, or the function space."""
        return builder in self._functions

    def require(self, *names: str) -> None:
        """Raise MissingSetting for the first setting or builder that the config lacks."""
        for name in names:
            if name in FUNCTIONS:
                if not self.has(name):
                    raise MissingSetting(
                        f"{self.path}: {name} is missing; define the function {name}(…)"
                    )
            else:
                getattr(self, name)

    def provide(self, **values: Any) -> None:
        """Offer `device` or `total_steps` to the builders that follow."""
        self.built.update(values)

    def override(self, overrides: Iterable[tuple[str, str]]) -> None:
        """Replace further settings, as overrides (name, text) do; nothing may be built yet."""
        for name, text in overrides:
            value = overridden(self.path, name, text, self.settings)
            self.settings[name] = check_value(self.path, name, value)
            self.overrides = (*self.overrides, f"{name}={text}")
        check_values(self.path, self.settings)
        self._namespace.update(self.settings)

    def require_read(self, by: str) -> None:
        """ConfigError for an override that neither builders nor the script of that kind read.

        What cross_validate reads later passes where it has said that the fold is left to it
        (`validate=false`).
        """
        readers = {by} if self.get("validate", True) else {by, STUDY}
        reads = _reads(self.chain, self.sources)
        for text in self.overrides:
            name = text.partition("=")[0]
            known = KNOWN.get(name)
            if known is not None and not readers & {*known.by} and not reads.built_with(name):
                others = ", ".join(known.by) or "other configs"
                raise ConfigError(
                    f"{self.path}: override {text}: this {by} does not read it, only {others}; "
                    "leave it out"
                )

    def read_settings(self) -> dict[str, Any]:
        """The settings that something reads: of a base's those that its replaced builders read
        would only mislead."""
        reads = _reads(self.chain, self.sources)
        return {
            name: value
            for name, value in self.settings.items()
            if reads.built_with(name) or (name in KNOWN and KNOWN[name].by)
        }

    def build(self, name: str) -> Any:
        """Run a builder, once, with what it names of that built before; None where undefined.

        What it raises becomes a ConfigError that names its line.
        """
        if name not in self.built:
            function = self._functions.get(name)
            self.built[name] = None if function is None else self._run(function)
        return self.built[name]

    def ask(self, trial: Any) -> Any:
        """What the config's space(trial) returns: settings to try, by name."""
        return self._run(self._functions[SPACE], {"trial": trial})

    def _run(self, function: Callable[..., Any], arguments: Mapping[str, Any] | None = None) -> Any:
        arguments = self._arguments(function) if arguments is None else arguments
        try:
            with self.modules.importable():
                return function(**arguments)
        except BuiltupError:
            raise
        except Exception as e:
            log.debug("%s", function.__name__, exc_info=True)
            lines = [
                f"{f.name}: line {x.tb_lineno}" for f in self.chain for x in _frames(e, str(f))
            ]
            place = f"{self.path.parent / lines[-1]}" if lines else str(self.path)
            raise ConfigError(
                f"{place}: {function.__name__}(): {type(e).__name__}: {one_line(e, 300)}; "
                "correct the function, or the settings that it reads"
            ) from e

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
    given = split_overrides(overrides)
    reads = _reads(chain, sources)
    check_names(path, reads, given)
    refuse_unread(path, reads)
    config = _resolve(path, chain, sources, given)
    check_values(path, config.settings)
    return config


def check_overrides(path: Path | str, overrides: str) -> None:
    """Refuse overrides that `load` would refuse for their name, before anything heavy is imported.

    A config's own imports (torch, say) take seconds: its files are read here and do not run.
    """
    path = found(Path(path))
    chain = _chain(path)
    sources = tuple(_read(file) for file in chain)
    check_names(path, _reads(chain, sources), split_overrides(overrides))


@functools.cache
def _reads(chain: tuple[Path, ...], sources: tuple[str, ...]) -> Reads:
    trees = [_parse(file, source) for file, source in zip(chain, sources, strict=True)]
    return Reads.of(list(zip(chain, trees, strict=True)), FUNCTIONS)


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
    chain, most = [path], MAX_BASES
    if any(getattr(node, "name", "") == SPACE for node in _parse(path, _read(path)).body):
        most += 1  # what is searched is a training config, with bases of its own
    while (base := _base_of(chain[0])) is not None:
        if len(chain) > most:
            raise ConfigError(
                f"{path}: base goes deeper than {most} levels "
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
                return found(found(path.parent / node.value.value), Path(node.value.value))
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
    files = list(zip(chain, trees, strict=True))
    modules = Modules.beside(files)
    with modules.importable():
        for file, tree in files:
            _execute(file, tree, namespace)
    functions: dict[str, Callable[..., Any]] = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, types.FunctionType) and value.__globals__ is namespace
    }
    refuse_other_builders(path, namespace, functions)
    constants = {name: value for name, value in namespace.items() if _is_constant(name, value)}
    refuse_unknown(path, constants, functions, names_read(trees))
    stated = frozenset({*constants, *(name for name, _ in overrides), *(replaced or {})})
    for name, known in KNOWN.items():
        if known.default is not ...:
            constants.setdefault(name, known.default)
    for name, text in overrides:
        constants[name] = overridden(path, name, text, constants)
    constants.update(replaced or {})
    for name, value in constants.items():
        constants[name] = check_value(path, name, value)
    namespace.update(constants)
    builders = {name: functions[name] for name in FUNCTIONS if name in functions}
    check_signatures(path, builders)
    given = tuple(f"{name}={text}" for name, text in overrides)
    return Config(
        *(path, chain, sources, given, constants),
        modules=modules,
        stated=stated,
        _functions=builders,
        _namespace=namespace,
    )


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


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
