"""Modules of the user's own beside a config: found by what the files import, and taken along.

A run keeps their text in its config folder, beside the config's files, so that its network can be
built again wherever the run goes.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builtup.errors import ConfigError

__all__ = ["Modules"]


@dataclass(frozen=True)
class Modules:
    """The modules beside a config's files: their text by path below the folder, for imports.

    `folders` are those of the config's files, `strangers` the names that they import and that are
    neither here nor installed: a config may yet put their folder on Python's path.
    """

    texts: tuple[tuple[str, str], ...] = ()
    folders: tuple[Path, ...] = ()
    strangers: tuple[str, ...] = ()

    @classmethod
    def beside(cls, files: Sequence[tuple[Path, ast.Module]]) -> Modules:
        """Those that parsed config files, and they themselves, import from beside them.

        Raises ConfigError where two folders have different modules of one name.
        """
        found: dict[str, tuple[Path, str]] = {}
        names = set[str]()
        waiting = [(path.absolute().parent, tree) for path, tree in files]
        folders = tuple(dict.fromkeys(folder for folder, _ in waiting))
        while waiting:
            folder, tree = waiting.pop()
            names |= (imports := _imports(tree))
            for file in (file for name in sorted(imports) for file in _files(folder, name)):
                key = file.relative_to(folder).as_posix()
                text = file.read_text(encoding="utf-8")
                if key not in found:
                    found[key] = (file, text)
                    waiting.append((folder, _parsed(file, text)))
                elif found[key][1] != text:
                    raise ConfigError(
                        f"{file}: a module of that name lies beside another file of the config "
                        f"too ({found[key][0]}); give them different names"
                    )
        texts = tuple((key, text) for key, (_, text) in sorted(found.items()))
        own = cls(texts, folders)
        strangers = (name for name in sorted(names - set(own.names)) if not _installed(name))
        return replace(own, strangers=tuple(strangers))

    @property
    def names(self) -> tuple[str, ...]:
        """What they are imported by."""
        tops = (Path(key).parts[0].removesuffix(".py") for key, _ in self.texts)
        return tuple(dict.fromkeys(tops))

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let them be imported; modules of the same names from elsewhere are put aside."""
        if not self.texts:
            yield
            return
        for name in self.names:
            origin = getattr(sys.modules.get(name), "__file__", None)
            if origin and not any(Path(origin).is_relative_to(f) for f in self.folders):
                for loaded in [n for n in sys.modules if n == name or n.startswith(f"{name}.")]:
                    del sys.modules[loaded]
        folders = [str(folder) for folder in self.folders]
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        sys.path[:0] = folders
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.dont_write_bytecode = written
            for folder in folders:
                if folder in sys.path:
                    sys.path.remove(folder)

    @property
    def left_behind(self) -> tuple[str, ...]:
        """The strangers that were found and imported: a run's folder would not have them."""
        return tuple(name for name in self.strangers if name in sys.modules)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _imports(tree: ast.Module) -> set[str]:
    """The first part of all names that are imported, also within functions."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"builtup"}


def _files(folder: Path, name: str) -> list[Path]:
    """The module of that name in a folder, or all of a package."""
    if (folder / name / "__init__.py").is_file():
        return sorted((folder / name).rglob("*.py"))
    return [file] if (file := folder / f"{name}.py").is_file() else []


def _parsed(path: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text, str(path))
    except SyntaxError as e:
        raise ConfigError(f"{path}: line {e.lineno}: {e.msg}; correct the Python") from e
