"""What a network that learnt *here* gives *there*, no label of there used: docs/results.md.

    python benchmarks/new_ground.py [--seeds "0;1;2"] [--ways "none;auto"] [--only "…;…"]
        [--config configs/train/recommended_cpu.py --overrides "gain_db=3.0"] [--model "run;run"]

Pairs: simulated towns → San Francisco and Beijing ($BUILTUP_DATA/real_s1), those two → each other,
near ground (other simulated towns of one kind; San Francisco's blocks, each held out with a gap of
32 pixels) and shifted towns. For each: F1 at the threshold that `predict` took, at 0.5 and at the
best one, so that ranking, scale and threshold are seen apart.
Beside the networks the random forest, the mean of VV over 15 × 15 pixels with its best threshold
(an oracle) and the published So2Sat network; then thresholds by other rules, on the same
probabilities. `--upper` trains on towns of each shifted kind: a shift counts where that beats the
plain network by three times the spread over seeds.

What is trained and mapped already is kept (`<output>/runs.json`): stop it and run it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from new_ground_data import (
    Grounds,
    MapCounts,
    Network,
    Pair,
    Part,
    Recipes,
    given_network,
    map_and_count,
    pooled,
)
from new_ground_rivals import RIVALS
from new_ground_rules import RULES, tempered
from studies.commands import use_project_database

from builtup.errors import BuiltupError
from builtup.geo.probability import level_of, moved_threshold
from builtup.jobs.files import write_text_atomically
from builtup.scoring.calibration import reliability
from builtup.scoring.counts import f1
from builtup.scoring.curves import average_precision, choose_threshold
from builtup.scoring.tables import markdown

CONFIG = "configs/train/recommended_cpu.py"
#: The label of networks that learnt from towns of the shifted kind.
UPPER = "labels of the kind"
#: Times the spread over seeds by which an upper bound must be ahead.
APART = 3.0
#: What a method says of a pair: one list of maps a seed, and the seconds of training and mapping.
Runs = list[dict[str, Any]]


def main() -> None:
    arguments = _arguments()
    use_project_database()
    out: Path = arguments.output
    settings = dict(word.split("=", 1) for word in arguments.simulate.split())
    grounds = Grounds(out, settings)
    pairs = grounds.pairs([word for word in arguments.only.split(";") if word])
    if not pairs:
        sys.exit(f"error: --only {arguments.only}: no pair has that in its name")
    seeds = [int(word) for word in arguments.seeds.split(";")]
    again = [way for way in arguments.again.split(";") if way]
    table = Table(Records(out / "runs.json"), out)
    networks = _networks(arguments.config or [CONFIG], arguments.overrides or [])
    ways = arguments.ways.split(";")
    for seed in seeds:
        for pair in pairs:
            for network in networks:
                if not (pair.simulated and arguments.model is not None):
                    table.add_network(network, pair, seed, ways, again)
            for rival in RIVALS if not arguments.no_rivals else ():
                table.add_rival(rival, pair, seed)
        for pair in (p for p in pairs if arguments.upper and p.is_shift):
            for network in networks:
                table.add_network(network, grounds.upper(pair), seed, ways[:1], again, UPPER)
    for pair in (p for p in pairs if p.simulated and arguments.model is not None):
        for seed, model in enumerate(arguments.model.split(";")):
            table.add_model(model, pair, seed, ways, again)
    text = table.text(pairs)
    print(text)
    if arguments.markdown:
        write_text_atomically(arguments.markdown, text + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0;1;2")
    parser.add_argument("--ways", default="none;auto", help="adapt, or settings of predict")
    parser.add_argument("--only", default="", help="parts of the names of pairs, separated by ;")
    parser.add_argument("--config", action="append", help="a network; may be repeated")
    parser.add_argument("--overrides", action="append", help="of the config of the same place")
    parser.add_argument("--model", help="for simulated sources: models separated by ;, one a seed")
    parser.add_argument("--simulate", default="", help='of the training towns: "variety=wide"')
    parser.add_argument("--upper", action="store_true", help="train on the shifted kinds as well")
    parser.add_argument("--no-rivals", action="store_true", help="networks only")
    parser.add_argument("--again", default="", help="ways that are mapped anew, separated by ;")
    parser.add_argument("--output", type=Path, default=Path("output/new_ground"))
    parser.add_argument("--markdown", type=Path, help="a file for the tables")
    return parser.parse_args()


def _networks(names: Sequence[str], overrides: Sequence[str]) -> list[Recipes]:
    texts = [*overrides, *[""] * (len(names) - len(overrides))]
    # overrides alone are other networks of the one config
    names = [*names, *[names[-1]] * (len(texts) - len(names))]
    return [Recipes(name, text) for name, text in zip(names, texts, strict=True)]


# --- what is measured -----------------------------------------------------------------------------


class Records:
    """Results by key in one JSON file, written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def __call__(self, key: str, make: Callable[[], dict[str, Any]], *, again: bool = False) -> Any:
        if again or key not in self.values:
            print(f"… {key}", file=sys.stderr, flush=True)
            made = make()
            # another process may have added its own meanwhile, or made anew what is held here
            kept = json.loads(self.path.read_text()) if self.path.is_file() else {}
            self.values = self.values | kept | {key: made}
            write_text_atomically(self.path, json.dumps(self.values) + "\n")
        return self.values[key]


@dataclass
class Table:
    """The runs of every method on every pair, by method, pair and seed."""

    records: Records
    out: Path
    runs: dict[str, dict[str, dict[int, Runs]]] = field(default_factory=dict)

    def add_network(
        self,
        network: Recipes,
        pair: Pair,
        seed: int,
        ways: Iterable[str],
        again: Sequence[str],
        label: str = "",
    ) -> None:
        """Train (or keep) the networks of a pair and map its parts, in each way."""
        for part in pair.parts:
            key = network.key(pair.source, part.fold, seed)

            def trained(part: Part = part) -> Network:
                return network.train(pair.source, part.fold, seed, self.out)

            name = f"{network.label} [{label}]" if label else network.label
            self._map(name, key, pair, part, seed, ways, again, trained)

    def add_model(
        self, model: str, pair: Pair, seed: int, ways: Iterable[str], again: Sequence[str]
    ) -> None:
        """Map the parts of a pair with a model that is there."""
        network = given_network(model, pair.source)
        for part in pair.parts:
            name = "given model" if model else "model of the project"
            self._map(name, network.key, pair, part, seed, ways, again, lambda: network)

    def _map(
        self,
        name: str,
        key: str,
        pair: Pair,
        part: Part,
        seed: int,
        ways: Iterable[str],
        again: Sequence[str],
        trained: Callable[[], Network],
    ) -> None:
        for way in ways:
            place = f"{pair.name} | {part.target.name} | {key} | {way}"
            folder = self.out / "maps" / hashlib.sha256(place.encode()).hexdigest()[:16]

            def make(way: str = way, folder: Path = folder) -> dict[str, Any]:
                return map_and_count(trained(), way, part.target, folder)

            found = self.records(place, make, again=way in again)
            self._add(f"{name}, {way}", pair.name, seed, found)

    def add_rival(self, rival: Any, pair: Pair, seed: int) -> None:
        """Map the parts of a pair with a rival; one without chance is asked once."""
        number = seed if rival.by_seed else 0
        if number in self.runs.get(rival.name, {}).get(pair.name, {}):
            return
        for part in pair.parts:
            place = f"{pair.name} | {part.target.name} | {rival.name} | {number}"
            found = self.records(place, lambda part=part: rival.count(pair, part, number))
            self._add(rival.name, pair.name, number, found)

    def _add(self, method: str, pair: str, seed: int, found: dict[str, Any]) -> None:
        self.runs.setdefault(method, {}).setdefault(pair, {}).setdefault(seed, []).append(found)

    # --- what is printed ---

    def text(self, pairs: Sequence[Pair]) -> str:
        """The tables as Markdown."""
        names = [pair.name for pair in pairs]
        parts = [markdown(self._rows(names)), markdown(self._summary(names))]
        for method in self.runs:
            if not _is_rival(method) and f"[{UPPER}]" not in method:
                parts.append(f"Thresholds by rule, {method}: loss of F1 against the best threshold")
                parts.append(markdown(self._losses(method, names)))
        shifts = [pair.name for pair in pairs if pair.is_shift]
        parts += self._verdicts(shifts)
        return "\n\n".join(parts)

    def _figures(self, method: str, pair: str) -> list[dict[str, float]]:
        return [figures(runs) for runs in self.runs[method].get(pair, {}).values()]

    def _rows(self, pairs: Sequence[str]) -> list[list[str]]:
        head = ["pair", "method", "F1", "F1 at 0.5", "best F1", "at", "AP", "ECE", "mapped"]
        rows = [[*head, "built-up", "training, s", "map, s"]]
        for pair in pairs:
            for method in self.runs:
                found = self._figures(method, pair)
                if found:
                    rows.append([pair, method, *(spread_of(found, name) for name in COLUMNS)])
        return rows

    def _summary(self, pairs: Sequence[str]) -> list[list[str]]:
        rows = [["over pairs", "F1, mean", "worst", "at 0.5, mean", "worst", "best, mean", "worst"]]
        for method in self.runs:
            of_pairs = [self._figures(method, pair) for pair in pairs]
            cells = []
            for name in ("f1", "half", "best"):
                means = [mean_of(found, name) for found in of_pairs if found]
                cells += [_number(statistics.fmean(means)), _number(min(means))]
            missing = sum(not found for found in of_pairs)
            rows.append([f"{method} ({missing} pairs missing)" if missing else method, *cells])
        return rows

    def _losses(self, method: str, pairs: Sequence[str]) -> list[list[str]]:
        known = [pair for pair in pairs if self.runs[method].get(pair)]
        rows = [["rule", "mean", "worst", "worst map", *known]]
        for rule in rule_names():
            losses, single = [], []
            for pair in known:
                of_seeds = [maps_of(runs) for runs in self.runs[method][pair].values()]
                losses.append(statistics.fmean(loss_of_rule(rule, maps) for maps in of_seeds))
                single += [loss_of_rule(rule, [one]) for maps in of_seeds for one in maps]
            told = (statistics.fmean(losses), max(losses), max(single), *losses)
            rows.append([rule, *map(_number, told)])
        return rows

    def _verdicts(self, shifts: Sequence[str]) -> list[str]:
        lines = []
        for method in self.runs:
            if f"[{UPPER}]" not in method:
                continue
            plain = method.replace(f" [{UPPER}]", "")
            for pair in shifts:
                upper, own = self._figures(method, pair), self._figures(plain, pair)
                if upper and own:
                    values = [[of["f1"] for of in found] for found in (upper, own)]
                    lines.append(f"{pair}: {verdict(*values)} ({plain})")
        return lines


#: Columns of the first table, by the names of `figures`.
COLUMNS = ("f1", "half", "best", "at", "ap", "ece", "mapped", "true", "training", "seconds")


def _is_rival(method: str) -> bool:
    return any(method == rival.name for rival in RIVALS)


def maps_of(runs: Runs) -> list[MapCounts]:
    """The maps of all parts of a pair."""
    return [MapCounts.from_json(values) for run in runs for values in run["maps"]]


def figures(runs: Runs) -> dict[str, float]:
    """What the parts of a pair give together; NaN where a figure has no meaning."""
    maps = maps_of(runs)
    counts = pooled(maps)
    total = max(counts.pixels, 1)
    best = choose_threshold(counts.histogram)
    oracle = any(run.get("oracle") for run in runs)
    found = {
        "f1": float(f1(counts.cells)),
        "half": float(f1(cells_at(counts.histogram, 0.5))),
        "best": math.nan if best is None else best.f1,
        "at": math.nan if best is None else best.value,
        "ap": average_precision(counts.histogram),
        "ece": reliability(counts.histogram).ece,
        "mapped": float(counts.matrix[:, 1].sum() / total),
        "true": float(counts.matrix[1].sum() / total),
        "training": sum(run.get("training_seconds", 0.0) for run in runs),
        "seconds": sum(run["seconds"] for run in runs),
    }
    unknown = ("half", "at", "ece") if oracle else ()
    return found | dict.fromkeys(unknown, math.nan)


def cells_at(histogram: np.ndarray, threshold: float) -> np.ndarray:
    """The cells (4,) of a histogram (2, 255) where levels from the threshold's on are mapped."""
    level = level_of(threshold)
    (rest, true), (false, hit) = histogram.sum(axis=1), histogram[:, level:].sum(axis=1)
    return np.array([hit, false, true - hit, rest - false])


# --- thresholds by rule ---------------------------------------------------------------------------

#: Rules that take probabilities by their value are tried on tempered ones as well.
TEMPERED = ("prior shift", "expected share")
_SUFFIX = ", tempered"


def rule_names() -> list[str]:
    return [*RULES, *(name + _SUFFIX for name in TEMPERED)]


def cells_by_rule(name: str, found: MapCounts) -> np.ndarray:
    """The cells (4,) of one map whose threshold a rule chose from its histogram alone."""
    histogram, threshold = found.counts.histogram, found.threshold
    rule = RULES[name.removesuffix(_SUFFIX)]
    levels = histogram.sum(axis=0)
    if not name.endswith(_SUFFIX) or found.temperature is None:
        return cells_at(histogram, rule(levels, threshold, found.share))
    own = moved_threshold(threshold, found.temperature)
    hot = rule(tempered(levels, found.temperature), own, found.share)
    return cells_at(histogram, moved_threshold(hot, 1 / found.temperature))


def loss_of_rule(name: str, maps: Sequence[MapCounts]) -> float:
    """Pooled F1 with each map at its best threshold, less that with each at the rule's."""
    best = []
    for found in maps:
        chosen = choose_threshold(found.counts.histogram)
        best.append(cells_at(found.counts.histogram, 0.5 if chosen is None else chosen.value))
    by_rule = [cells_by_rule(name, found) for found in maps]
    return float(f1(np.sum(best, axis=0)) - f1(np.sum(by_rule, axis=0)))


# --- numbers in words -----------------------------------------------------------------------------


def verdict(upper: Sequence[float], plain: Sequence[float]) -> str:
    """Whether labels of the target are ahead of none by APART times the spread over seeds."""
    gain = statistics.fmean(upper) - statistics.fmean(plain)
    if min(len(upper), len(plain)) < 2:
        return f"{gain:+.3f} by labels of the target; one seed says nothing of the spread"
    spread = max(statistics.stdev(upper), statistics.stdev(plain))
    word = "counts as a benchmark" if gain >= APART * spread else "does not count as a benchmark"
    return f"{gain:+.3f} by labels of the target, spread over seeds {spread:.3f}: {word}"


def mean_of(found: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.fmean(of[name] for of in found)


def spread_of(found: Sequence[Mapping[str, float]], name: str) -> str:
    """`.912 ± .004`; seconds without a spread, – where there is none."""
    values = [of[name] for of in found]
    if name in ("training", "seconds"):
        return f"{statistics.fmean(values):.0f}"
    text = _number(statistics.fmean(values))
    shown = len(values) > 1 and math.isfinite(values[0])
    return f"{text} ± {_number(statistics.stdev(values))}" if shown else text


def _number(value: float) -> str:
    text = f"{value:.3f}" if math.isfinite(value) else "–"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


if __name__ == "__main__":
    try:
        main()
    except BuiltupError as e:
        sys.exit(f"error: {e}")
