"""Who reads a setting: found in the text of a config's files, before any of it runs.

Overrides are put in after the files have run and before anything is built. What counts as reading
is therefore what a builder does when it is called, and the functions, classes and lambdas that it
uses; a function that another file has replaced reads nothing, and neither does a line that ran
while the file was loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Reads", "names_read"]

#: With one of these a function may read what its text does not name.
_ANYTHING = {"globals", "locals", "vars", "eval", "exec"}
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Reads:
    """What the files of a config assign and read, base first.

    `assigned` are the names that the files may assign as they are loaded (None: any), `own` those
    of the last one. `by_builders` is what builders read when they are called (None: any name),
    `loading` what is read while the files are loaded. `replaced` says in words where else a name
    is read: in functions that another file has replaced.
    """

    assigned: frozenset[str] | None
    own: frozenset[str]
    by_builders: frozenset[str] | None
    loading: frozenset[str]
    replaced: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Sequence[tuple[Path, ast.Module]], builders: Iterable[str]) -> Reads:
        """Look through the parsed files of a config."""
        definitions: dict[str, ast.AST] = {}
        places: dict[str, Path] = {}
        replaced: dict[str, str] = {}
        assigned, loading = set[str](), set[str]()
        own, starred = set[str](), False
        for path, tree in files:
            own = set()
            for node in _statements(tree.body):
                for name, value in _definitions(node):
                    if places.get(name, path) != path:
                        replaced |= _reads_of_replaced(name, definitions[name], path)
                    definitions[name], places[name] = value, path
                names = set(_assigned(node))
                assigned |= names
                own |= set() if isinstance(node, ast.Import | ast.ImportFrom) else names
                starred |= isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
                loading |= _loaded_while(node)
        live = _live(definitions, builders)
        anything = bool(live & _ANYTHING)
        return cls(
            None if starred else frozenset(assigned),
            frozenset(own),
            None if anything else frozenset(live),
            frozenset(loading),
            replaced,
        )

    def built_with(self, name: str) -> bool:
        """Whether a builder may read the name."""
        return self.by_builders is None or name in self.by_builders

    def why_not(self, name: str) -> str:
        """Where a name is read after all, and to what end, in words; nothing where nowhere is."""
        if name in self.replaced:
            return f": {self.replaced[name]}"
        if name in self.loading:
            return ": it is used while the config is loaded, before overrides; use it in a builder"
        return ""


def names_read(trees: Iterable[ast.Module]) -> set[str]:
    """All names that files read anywhere, as they are loaded or later."""
    return _loads(trees)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements that run when a file is loaded, also those below if, for, with and try."""
    for node in body:
        yield node
        if isinstance(node, _SCOPES):
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def _definitions(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """Functions, classes, and what plain assignments give a name."""
    if isinstance(node, _SCOPES):
        yield node.name, node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value


def _assigned(node: ast.stmt) -> Iterator[str]:
    """The names that a statement may give a value, imported ones among them."""
    if isinstance(node, _SCOPES):
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
        return
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _loads(nodes: Iterable[ast.AST]) -> set[str]:
    return {
        part.id
        for node in nodes
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
    }


def _functions(node: ast.AST) -> list[Function]:
    """The functions in a definition, those within another left out."""
    if isinstance(node, Function):
        return [node]
    return [inner for child in ast.iter_child_nodes(node) for inner in _functions(child)]


def _called(node: ast.AST) -> set[str]:
    """What the functions of a definition read when they are called."""
    bodies: list[ast.AST] = []
    for function in _functions(node):
        body = function.body
        bodies += body if isinstance(body, list) else [body]
    return _loads(bodies)


def _loaded_while(node: ast.stmt) -> set[str]:
    """What a statement reads as it runs: of a definition its decorators, defaults and the like."""
    return _loads([node]) - _called(node)


def _live(definitions: Mapping[str, ast.AST], builders: Iterable[str]) -> set[str]:
    read, waiting, seen = set[str](), list(builders), set[str]()
    while waiting:
        name = waiting.pop()
        node = definitions.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        called = _called(node)
        read |= called
        waiting += [*called, *_loads([node])]
    return read


def _reads_of_replaced(name: str, before: ast.AST, path: Path) -> dict[str, str]:
    """What a function that this file replaces would have read."""
    if not isinstance(before, _SCOPES):
        return {}
    return dict.fromkeys(_called(before), f"{path.name} has a {name}() of its own")
