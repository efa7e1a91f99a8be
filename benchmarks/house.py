"""How the package is cut: modules, lines, single readers, functions called once, twins, circles.

    python benchmarks/house.py [--code FOLDER]... [--list]

Counts what docs/architecture.md promises, for one checkout or for several side by side. A reader of
a module is another module that imports it (imports inside functions and for types count). A private
function is *called once* where its name stands once in its module outside its definition. Names are
*twins* where two modules of the package have one file name. An import goes *upwards* where its room
stands later in the stair of tests/test_architecture.py.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class House:
    """The modules of a package by dotted name, their trees, and who imports whom."""

    paths: Mapping[str, Path]
    trees: Mapping[str, ast.Module]
    imports: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, checkout: Path) -> House:
        code = checkout / "code"
        paths = {_dotted(path, code): path for path in sorted((code / "builtup").rglob("*.py"))}
        trees = {name: ast.parse(path.read_text()) for name, path in paths.items()}
        imports = {name: frozenset(_imported(tree, paths)) - {name} for name, tree in trees.items()}
        imports["builtup"] = frozenset()  # it offers what others hold, and imports none of it
        return cls(paths, trees, imports)

    def with_code(self) -> list[str]:
        """Modules that hold more than a docstring."""
        return [name for name, tree in self.trees.items() if len(tree.body) > 1]

    def lines(self) -> int:
        return sum(len(path.read_text().splitlines()) for path in self.paths.values())

    def single_reader(self) -> list[str]:
        """Modules with code that exactly one other module imports."""
        readers = Counter(target for targets in self.imports.values() for target in targets)
        return [name for name in self.with_code() if readers[name] == 1]

    def called_once(self) -> list[str]:
        """Private functions and methods whose name stands once outside their definition."""
        found = []
        for name, tree in self.trees.items():
            uses = Counter(
                node.id if isinstance(node, ast.Name) else node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Name | ast.Attribute)
            )
            found += [
                f"{name}.{function.name}"
                for function in _functions(tree)
                if function.name.startswith("_")
                and not function.name.startswith("__")
                and uses[function.name] == 1
            ]
        return found

    def twins(self) -> dict[str, list[str]]:
        """File names that stand more than once."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for name, path in self.paths.items():
            if path.name != "__init__.py":
                by_name[path.stem].append(name)
        return {stem: names for stem, names in by_name.items() if len(names) > 1}

    def upwards(self, stair: tuple[str, ...]) -> list[str]:
        return [
            f"{name} -> {target}"
            for name, targets in self.imports.items()
            for target in targets
            if (a := _room(name)) in stair
            and (b := _room(target)) in stair
            and stair.index(b) > stair.index(a)
        ]

    def circles(self) -> list[list[str]]:
        """Groups of modules each of which reaches all others by imports (Tarjan 1972)."""
        order: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        found = []

        def visit(name: str) -> None:
            order[name] = low[name] = len(order)
            stack.append(name)
            for target in self.imports[name]:
                if target not in order:
                    visit(target)
                    low[name] = min(low[name], low[target])
                elif target in stack:
                    low[name] = min(low[name], order[target])
            if low[name] == order[name]:
                at = stack.index(name)
                group = stack[at:]
                del stack[at:]
                if len(group) > 1:
                    found.append(sorted(group))

        for name in self.imports:
            if name not in order:
                visit(name)
        return found

    def function_lines(self) -> list[int]:
        return sorted(
            (f.end_lineno or f.lineno) - f.lineno + 1
            for tree in self.trees.values()
            for f in _functions(tree)
        )


def _dotted(path: Path, code: Path) -> str:
    return ".".join(path.relative_to(code).with_suffix("").parts).removesuffix(".__init__")


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _imported(tree: ast.Module, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "builtup":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else str(node.module)


def stair_of(test: Path) -> tuple[str, ...]:
    """The rooms in order, as the architecture's test has them; none in an older checkout."""
    for node in ast.parse(test.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STAIR":
            return tuple(ast.literal_eval(node.value))
    return ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--code", type=Path, action="append", help="a checkout; this one by default"
    )
    parser.add_argument("--list", action="store_true", help="name what is counted")
    options = parser.parse_args()
    for checkout in options.code or [ROOT]:
        house = House.of(checkout)
        lengths = house.function_lines()
        coded, single = house.with_code(), house.single_reader()
        stair = stair_of(checkout / "tests" / "test_architecture.py")
        rows: dict[str, list[str] | int | str] = {
            "modules with code": len(coded),
            "lines": house.lines(),
            "modules with a single reader": single,
            "private functions called once": house.called_once(),
            "file names that stand twice": [
                f"{stem}: {', '.join(names)}" for stem, names in house.twins().items()
            ],
            "imports upwards": house.upwards(stair) if stair else "no stair in its tests",
            "circles": [" ".join(group) for group in house.circles()],
            "lines of a function, median / 95 %": (
                f"{statistics.median(lengths):g} / {lengths[int(0.95 * len(lengths))]}"
            ),
        }
        print(checkout.resolve().name)
        for title, value in rows.items():
            print(f"  {title:36} {len(value) if isinstance(value, list) else value}")
            if options.list and isinstance(value, list):
                print(*(f"      {line}" for line in value), sep="\n")


if __name__ == "__main__":
    main()
