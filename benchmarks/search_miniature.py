"""What searches, guides and set-level selection bring on the miniature at equal NFE, by judges that none of them saw.

    python benchmarks/search_miniature.py --json                       # 256 images, 3 seeds, resumes where it stopped
    python benchmarks/search_miniature.py --images 64 --seeds 1 --wide 32   # a pilot
    python benchmarks/search_miniature.py --only random,own_select     # some rows; the others' candidates are not made

The miniature's stages are built (or taken) in DATA; a second verifier learns the generator's own samples and their
previews besides. For each seed 16 noises of each prompt are denoised once and recorded (`candidate_bank`): all keep
rules of independent noises are replayed on them, zero_order and paths really run. All rows but `unguided` have the same
96 NFE an image, 12 candidates x 8 steps; paths comes to 92. A row `own_...` is led by the second verifier.

Every row is judged by FID, precision and recall against captioned *test* frames at equal N, under two nets that no
search used: scenenet and random-conv. Selection matches real *train* frames in features of a third net, taught on
train frames alone. `fid_gain` is the relative gain over unguided, mean of the seeds, with its 95 % interval over
resampled videos and prompts. `more_score_per_nfe` compares halving and drafts (coarse denoisings of the same noises)
with random search of up to 42 candidates, of 64 recorded, on prompts that the schedules were not chosen on.

Recording makes about 310,000 forwards at the defaults: some 55 minutes of two quiet cores. Each row's figures come
from parts that lie in DATA/search-miniature and are never made twice.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candidate_bank as bank  # first: it sets the threads
import numpy as np
from numpy.typing import NDArray

from irgen import images, pipeline, progress, seeds, settings
from irgen.metrics import bootstrap, features, nets, proxy
from irgen.metrics.frechet import Distances
from irgen.metrics.manifold import Neighbourhoods
from irgen.records import Caption, Frame, read_rows
from irgen.search import Prompt
from irgen.search.estimates import Stages, checked, expected_best, scores
from irgen.search.policy import calibrate
from irgen.search.selection import select
from irgen.settings import Manifest, PathsSearch, VerifierBar, ZeroOrderSearch
from irgen.sources import root_of
from irgen.stages import samples
from irgen.store import Ref
from irgen.verifiers.ensemble import Ranks

F64 = NDArray[np.float64]
MANIFEST = Path(__file__).parents[1] / "manifests" / "miniature.yaml"
STEPS, NFE, CANDIDATES = 8, 96, 12
RECORDED = 16
"""Noises a prompt: more than best of N takes, for schedules that begin with more."""
HALVING = ((16, 4), (8, 8))
WIDE, POOL, WIDE_PROMPTS, WIDE_SEED, DRAFTS = 42, 64, 96, 1000, 4
"""The other bank, on which schedules are chosen, ranks are measured and NFE for equal score is counted. It holds more
noises than best of 42 takes: among the same 42 no schedule could find a better image than all of them have."""
CHOSEN_ON, CHOSEN_SEEDS, RANKED_ON, RANKED_EACH = 20, 32, 24, 4
JUDGES = ("scenenet", "random-conv")
SHARD = 32
PROMPTS_A_SEARCH = 24
"""So many that a round's candidates, two of a prompt at least, fill whole batches."""
RESAMPLINGS = 100
SEARCHES = {
    "zero_order": ZeroOrderSearch(warm_start=4, neighbours=4, iterations=2),
    "paths": PathsSearch(paths=2, renoisings=3, length=2),
}
EVERY_STEP = tuple(range(1, STEPS + 1))


@dataclass(frozen=True)
class World:
    """What was built before the first candidate."""

    manifest: Manifest
    frames: Path
    captions: Path
    setting: bank.Setting
    proxy: Path
    auc: dict[str, dict[str, float]]


def build(data: Path) -> World:
    """Run the miniature's stages up to the two verifiers and the selection's feature net, or take what is there."""
    manifest = settings.load_manifest(MANIFEST)
    root = pipeline.dataset_root(data, manifest.dataset)
    refs: dict[str, Ref] = {}
    auc = {}

    def make(name: str, **changed: settings.Settings) -> Ref:
        stage = pipeline.stage_named(name)
        sections = {section: getattr(manifest, section) for section in stage.sections} | changed
        outcome = pipeline.run_stage(stage, root, sections, {one: refs[one] for one in stage.reads(sections)})
        auc[name] = outcome.figures.get("auc", {})
        return outcome.ref

    for name in ("frames", "captions", "negatives", "adapter"):
        refs[name] = make(name)
    verifiers = {"irscore": make("verifier").folder}
    auc["irscore"] = auc["verifier"]
    chosen = manifest.samples
    own = manifest.verifier.model_copy(
        update={
            "own_samples": 256,
            "own_steps": chosen.steps,
            "own_guidance": chosen.guidance,
            "previews": True,
            "bar": VerifierBar(gray=0, match=0),
        }
    )
    verifiers["own"] = make("verifier", verifier=own).folder
    auc["own"] = auc["verifier"]
    taught = data / "search-miniature" / f"proxy-{refs['frames'].content[:12]}"
    if not (taught / nets.PROXY_FILE).exists():
        proxy.train(refs["frames"].folder, taught, seed=0)
    setting = bank.Setting(manifest.base, refs["adapter"].folder, chosen.steps, chosen.guidance, verifiers)
    return World(
        manifest,
        refs["frames"].folder,
        refs["captions"].folder,
        setting,
        taught,
        {name: auc[name] for name in verifiers},
    )


@dataclass(frozen=True)
class Rows:
    """One seed's recorded candidates, and what the keep rules need besides.

    Attributes:
        recorded: of the bank.
        seen: steps whose scores it holds.
        schedules: of each judge, chosen on the other bank.
        wide: of the other bank.
        proxy: features of all candidates, [P, C, d], and of real train frames, [R, d].
    """

    recorded: dict[str, np.ndarray]
    seen: tuple[int, ...]
    schedules: dict[str, Stages]
    wide: dict[str, np.ndarray]
    proxy: tuple[F64, F64]

    def finished(self, judge: str) -> F64:
        """Return a judge's scores of the first 12 candidates' images."""
        found: F64 = self.recorded[judge][:, :CANDIDATES, -1]
        return found

    def best(self, judge: str) -> Kept:
        """Best of 12."""
        return Kept(np.nanargmax(self.finished(judge), axis=1))

    def worst(self, judge: str) -> Kept:
        """Worst of 12."""
        return Kept(np.nanargmin(self.finished(judge), axis=1))

    def halving(self, judge: str) -> Kept:
        """A schedule that nobody chose."""
        return Kept(*bank.halved(self.recorded[judge], self.seen, HALVING))

    def calibrated(self, judge: str) -> Kept:
        """The schedule chosen on the other bank."""
        schedule = self.schedules[judge]
        return Kept(*bank.halved(self.recorded[judge], self.seen, schedule), list(map(list, schedule)))

    def ranks(self, *judges: str) -> F64:
        """Return the ensemble's scores, as `irgen.verifiers.ensemble.Ensemble` makes them of recorded ones."""
        total, weights = np.zeros_like(self.finished(judges[0])), 0.0
        for judge in judges:
            ranks = Ranks(judge, self.wide[judge][:RANKED_ON, :RANKED_EACH, -1])
            total, weights = total + ranks.of(self.finished(judge)) / ranks.spread, weights + 1 / ranks.spread
        return total / weights

    def ensemble(self, *judges: str) -> Kept:
        """Best mean rank."""
        return Kept(np.nanargmax(self.ranks(*judges), axis=1))

    def selected(self, scored: F64, share: float, together: int | None = None) -> Kept:
        """Set-level selection, of all prompts at once or of so many at a time."""
        candidates, real = self.proxy
        size = together or len(scored)
        chosen = [
            select(candidates[at : at + size, :CANDIDATES], scored[at : at + size], real, share=share).candidate
            for at in range(0, len(scored), size)
        ]
        return Kept(np.concatenate(chosen))


@dataclass(frozen=True)
class Kept:
    """The candidate of each prompt, what finding it took, and the schedule where one was chosen."""

    candidate: NDArray[np.int64]
    nfe: int = NFE
    schedule: list[list[int]] | None = None


RULES: dict[str, Callable[[Rows], Kept]] = {
    "unguided": lambda rows: Kept(np.zeros(len(rows.finished("irscore")), np.int64), STEPS),
    "random": lambda rows: rows.best("irscore"),
    "worst": lambda rows: rows.worst("irscore"),
    "halving": lambda rows: rows.halving("irscore"),
    "calibrated": lambda rows: rows.calibrated("irscore"),
    "ensemble": lambda rows: rows.ensemble("irscore", "realism"),
    "select": lambda rows: rows.selected(rows.finished("irscore"), 0.5),
    "own_random": lambda rows: rows.best("own"),
    "own_worst": lambda rows: rows.worst("own"),
    "own_halving": lambda rows: rows.halving("own"),
    "own_calibrated": lambda rows: rows.calibrated("own"),
    "own_ensemble": lambda rows: rows.ensemble("own", "realism"),
    "realism": lambda rows: rows.best("realism"),
    "own_select": lambda rows: rows.selected(rows.finished("own"), 0.5),
    "own_select_quarter": lambda rows: rows.selected(rows.finished("own"), 0.25),
    "own_select_shards": lambda rows: rows.selected(rows.finished("own"), 0.5, SHARD),
    "own_ensemble_select": lambda rows: rows.selected(rows.ranks("own", "realism"), 0.5),
    "select_all": lambda rows: rows.selected(rows.finished("own"), 1.0),
}


def chosen_prompts(world: World, count: int) -> list[Prompt]:
    """Return the prompts that the samples stage would have."""
    wanted = world.manifest.samples.model_copy(update={"images": count})
    return [each.prompt for each in samples.plan(world.captions, wanted)]


def of_net(world: World, name: str, pictures: Sequence[np.ndarray], cache: Path) -> F64:
    """Return features of gray images, [N, d], made once."""
    path = cache.with_suffix(".npy")
    if not path.exists():
        kind, weights = nets.resolve(name)
        found = features.features(pictures, features.load(kind, weights), total=len(pictures), label=kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    loaded: F64 = np.load(path, allow_pickle=False)
    return loaded


def real_frames(world: World, split: str, count: int) -> tuple[list[np.ndarray], list[str]]:
    """Return captioned LWIR frames at the images' size, and their videos; a seeded choice of them."""
    frames = {one.id: one for one in read_rows(world.frames / "frames.parquet", Frame)}
    rows = [one for one in read_rows(world.captions / "captions.parquet", Caption) if one.split == split]
    order = seeds.generator(0, split, "benchmark").permutation(len(rows))[:count]
    chosen = [frames[rows[row].frame_id] for row in order]
    base, root = world.manifest.base, root_of(world.frames)
    read = [images.resize(images.read_gray(root / one.lwir), base.width_px, base.height_px) for one in chosen]
    return [np.round(one).clip(0, 255).astype(np.uint8) for one in read], [one.video for one in chosen]


@dataclass
class Row:
    """One row's images, a seed each, and the judges' means."""

    pictures: list[np.ndarray]
    figures: dict[str, Any]


def measure(world: World, folder: Path, prompts: list[Prompt], jobs: int) -> dict[str, np.ndarray]:
    """Return the other bank, whose previews were scored after every step."""
    what: dict[str, Any] = {"seed": WIDE_SEED, "previewed": EVERY_STEP[:-1]}
    wide = bank.parts(folder / "wide", prompts, candidates=WIDE, drafts=(DRAFTS,), **what)
    more = bank.parts(folder / "more", prompts, candidates=POOL - WIDE, first=WIDE, **what)
    bank.complete([*wide, *more], world.setting, jobs)
    measured, beyond = bank.read(wide), bank.read(more)
    return measured | {name: np.concatenate([measured[name], beyond[name]], axis=1) for name in bank.TRAINED}


def collect(
    world: World,
    folder: Path,
    prompts: list[Prompt],
    wide: dict[str, np.ndarray],
    count: int,
    only: Sequence[str],
    jobs: int,
) -> dict[str, Row]:
    """Record what is missing; return each row's images."""
    schedules = {
        name: calibrate(wide[name][:CHOSEN_ON, :CHOSEN_SEEDS], NFE, STEPS, most_candidates=RECORDED).stages
        for name in bank.TRAINED
    }
    seen = tuple(sorted({until for schedule in (HALVING, *schedules.values()) for _, until in schedule}))
    cuts = "-".join(map(str, seen))
    banks = [
        bank.parts(folder / f"bank-{seed}-{cuts}", prompts, seed=seed, candidates=RECORDED, previewed=seen[:-1])
        for seed in range(count)
    ]
    searched = {
        (name, seed): bank.parts(
            folder / f"{name}-{seed}",
            prompts,
            each=PROMPTS_A_SEARCH,
            seed=seed,
            candidates=CANDIDATES,
            search=json.dumps({"search": SEARCHES[name].model_dump()}),
        )
        for name in SEARCHES
        if name in only
        for seed in range(count)
    }
    bank.complete([part for some in (*banks, *searched.values()) for part in some], world.setting, jobs)
    train = of_net(world, f"proxy:{world.proxy}", real_frames(world, "train", 1000)[0], folder / "proxy-train")
    rows: dict[str, Row] = {}
    for seed in range(count):
        recorded = bank.read(banks[seed])
        pictures = list(recorded["image"].reshape(-1, *recorded["image"].shape[2:]))
        named = folder / f"proxy-{seed}-{len(prompts)}"
        candidates = of_net(world, f"proxy:{world.proxy}", pictures, named).reshape(*recorded["image"].shape[:2], -1)
        one = Rows(recorded, seen, schedules, wide, (candidates, train))
        for name in (name for name in RULES if name in only or name == "unguided"):
            kept = RULES[name](one)
            place = (np.arange(len(prompts)), kept.candidate)
            means = {judge: float(recorded[judge][place][:, -1].mean()) for judge in ("irscore", "own", "realism")}
            _enter(rows, name, recorded["image"][place], means | {"nfe": kept.nfe, "schedule": kept.schedule})
        for name in (name for name in SEARCHES if (name, seed) in searched):
            found = bank.read(searched[name, seed])
            means = {judge: float(found[judge].mean()) for judge in ("irscore", "own", "realism", "nfe")}
            _enter(rows, name, found["image"], means)
    return rows


def _enter(rows: dict[str, Row], name: str, pictures: np.ndarray, figures: dict[str, Any]) -> None:
    row = rows.setdefault(name, Row([], {}))
    row.pictures.append(pictures)
    for key, value in figures.items():
        if value is not None:
            row.figures.setdefault(key, []).append(value)


def judge(world: World, rows: dict[str, Row], count: int, resamplings: int) -> dict[str, Any]:
    """Return every row's figures under both nets, with the gain over unguided."""
    real, videos = real_frames(world, "test", count)
    table: dict[str, Any] = {name: _means(row.figures) for name, row in rows.items()}
    for name in JUDGES:
        kind, weights = nets.resolve(name)
        net = features.load(kind, weights)
        of_real = features.features(real, net, total=len(real), label=name)
        seen = {
            row: [
                features.features(list(one), net, total=len(one), label=f"{name}: {row}") for one in rows[row].pictures
            ]
            for row in rows
        }
        for row, found in _compared(of_real, videos, seen, resamplings, name).items():
            table[row][name] = found
    return table


def _means(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: values if isinstance(values[0], list) else round(float(np.mean(values)), 5)
        for name, values in figures.items()
    }


def _compared(
    real: F64, videos: Sequence[str], seen: dict[str, list[F64]], resamplings: int, label: str
) -> dict[str, dict[str, Any]]:
    """Return each row's FID, precision and recall, means of the seeds, and what changed, all with intervals."""
    count, size = len(seen["unguided"]), len(real)
    distances = [Distances(real, {row: found[seed] for row, found in seen.items()}) for seed in range(count)]
    near = [{row: Neighbourhoods(real, found[seed]) for row, found in seen.items()} for seed in range(count)]

    def figures(real_rows: Any, rows: Any) -> dict[str, dict[str, float]]:
        fid = [one.at(real_rows, dict.fromkeys(seen, rows)) for one in distances]
        kinds = [{row: one[row].manifold(real_rows, rows) for row in seen} for one in near]
        plain_recall = np.mean([one["unguided"].recall for one in kinds])
        return {
            row: {
                "fid": float(np.mean([one[row] for one in fid])),
                "precision": float(np.mean([one[row].precision for one in kinds])),
                "recall": float(np.mean([one[row].recall for one in kinds])),
                "fid_gain": 1 - float(np.mean([one[row] for one in fid]) / np.mean([one["unguided"] for one in fid])),
                "recall_change": float(np.mean([one[row].recall for one in kinds]) - plain_recall),
            }
            for row in seen
        }

    everything = np.arange(size)
    estimate = figures(everything, everything)
    draws = []
    with progress.bar(f"{label} resamples", resamplings) as advance:
        for number in range(resamplings):
            rng = seeds.generator(0, number, "benchmark/bootstrap")
            draws.append(figures(bootstrap.resample(videos, rng), rng.integers(size, size=size)))
            advance(1)
    return {
        row: {
            name: {
                "value": round(value, 4),
                "ci95": [round(end, 4) for end in bootstrap.interval(value, [one[row][name] for one in draws])],
            }
            for name, value in estimate[row].items()
        }
        for row in seen
    }


def more_score(wide: dict[str, np.ndarray]) -> dict[str, Any]:
    """Compare schedules and drafts with random search of up to 42 candidates, on prompts not chosen on."""
    report: dict[str, Any] = {}
    for name in bank.TRAINED:
        chosen, others = wide[name][:CHOSEN_ON, :CHOSEN_SEEDS], checked(wide[name][CHOSEN_ON:])
        curve = expected_best(others[:, :, -1])
        halving = {}
        for nfe in range(48, STEPS * WIDE + 1, STEPS):
            schedule = calibrate(chosen, nfe, STEPS, most_candidates=POOL)
            halving[nfe] = (scores(others, schedule.stages, 0), [list(stage) for stage in schedule.stages])
        equal = [nfe for nfe, (found, _) in halving.items() if found.mean() >= curve[:, WIDE - 1].mean()]
        change = halving[144][0] - curve[:, WIDE - 1]
        report[name] = {
            "random": {str(STEPS * n): round(float(curve[:, n - 1].mean()), 5) for n in (1, 6, 12, 18, 24, 30, 36, 42)},
            "halving": {str(nfe): [round(float(found.mean()), 5), how] for nfe, (found, how) in halving.items()},
            "halving_nfe_for_random_336": equal[0] if equal else None,
            "halving_144_less_random_336": _interval(change),
            "halving_96_less_random_96": _interval(halving[NFE][0] - curve[:, CANDIDATES - 1]),
            "preview_rank": {
                str(step): _rank(others[:, :, at], others[:, :, -1]) for at, step in enumerate(EVERY_STEP[:-1])
            },
        }
    drafted, finished = wide[f"draft{DRAFTS}"][CHOSEN_ON:], wide[bank.TRAINED[0]][CHOSEN_ON:, :WIDE, -1]
    both = checked(np.stack([drafted, finished], axis=2))
    plain = expected_best(both[:, :, -1])
    report["drafts"] = {"steps": DRAFTS, "rank": _rank(both[:, :, 0], both[:, :, 1])}
    for nfe in (NFE, 144):
        found = {
            kept: scores(both, ((count, 1), (kept, 2)), 0)
            for kept in range(1, nfe // STEPS)
            if kept < (count := min(WIDE, (nfe - kept * STEPS) // DRAFTS))
        }
        best = max(found, key=lambda kept: float(found[kept].mean()))
        report["drafts"][str(nfe)] = {
            "finished": best,
            "score": round(float(found[best].mean()), 5),
            "less_random": _interval(found[best] - plain[:, nfe // STEPS - 1]),
        }
    return report


def _interval(change: F64) -> dict[str, Any]:
    rng = seeds.generator(0, "benchmark", "change")
    drawn = change[rng.integers(len(change), size=(2000, len(change)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": round(float(change.mean()), 5), "ci95": [round(float(low), 5), round(float(high), 5)]}


def _rank(early: F64, late: F64) -> float:
    """Return the mean rank correlation within a prompt."""
    ranked = [np.argsort(np.argsort(one, axis=1), axis=1).astype(float) for one in (early, late)]
    centred = [one - one.mean(axis=1, keepdims=True) for one in ranked]
    return round(float((centred[0] * centred[1]).sum() / (centred[0] ** 2).sum()), 3)


def main() -> None:
    names = [*RULES, *SEARCHES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where stages and candidates are kept")
    parser.add_argument("--images", type=int, default=256, help="prompts, an image each; real frames are as many")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions with other noises")
    parser.add_argument("--wide", type=int, default=WIDE_PROMPTS, help="prompts with 42 candidates each, 24 at least")
    parser.add_argument("--only", default=",".join(names), help="rows, of: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--resamplings", type=int, default=RESAMPLINGS, help="for the intervals")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    options = parser.parse_args()
    only = options.only.split(",")
    if unknown := sorted({*only} - {*names}):
        parser.error(f"no rows are called {', '.join(unknown)}; there are: {', '.join(names)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    world = build(options.data)
    identity = f"{world.setting.adapter.name}-{'-'.join(one.name for one in world.setting.verifiers.values())}"
    folder = options.data / "search-miniature" / identity
    prompts = chosen_prompts(world, options.images)
    others = chosen_prompts(world, options.wide)
    wide = measure(world, folder, others, options.jobs)
    rows = collect(world, folder, prompts, wide, options.seeds, only, options.jobs)
    report = {
        "images": options.images,
        "seeds": options.seeds,
        "verifiers": world.auc,
        "rows": judge(world, rows, options.images, options.resamplings),
        "more_score_per_nfe": more_score(wide),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    show(report)
    if options.json:
        print(json.dumps(report))


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    nets_head = "".join(f"{name + ': FID':>18}{'gain [95 %]':>24}{'prec.':>7}{'recall':>8}" for name in JUDGES)
    print(f"{'':22}{'NFE':>6}{'IRSCORE':>9}{'own':>9}{nets_head}")
    for name, row in report["rows"].items():
        line = f"{name:22}{row['nfe']:6.0f}{row['irscore']:9.4f}{row['own']:9.4f}"
        for net in JUDGES:
            found = row[net]
            low, high = found["fid_gain"]["ci95"]
            gain = f"{found['fid_gain']['value']:+.3f} [{low:+.3f}, {high:+.3f}]"
            line += f"{found['fid']['value']:18.3f}{gain:>24}"
            line += f"{found['precision']['value']:7.3f}{found['recall']['value']:8.3f}"
        print(line)
    for name in bank.TRAINED:
        found = report["more_score_per_nfe"][name]
        print(f"{name}: halving reaches random's score at 336 NFE with {found['halving_nfe_for_random_336']} NFE")


if __name__ == "__main__":
    main()
