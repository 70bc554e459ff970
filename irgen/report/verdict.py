"""What the figures say, in plain words; never more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FEW = 50
"""Below this N a Fréchet distance is mostly bias."""

UNKNOWN = "unknown"
Mood = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict, and whether it is good news, bad news or neither."""

    mood: Mood
    text: str


def verdict(figures: Mapping[str, Any]) -> list[Finding]:
    """Say whether guidance helped (FID, IRSCORE), whether the verifier can be believed, and how it compares with gray.

    Args:
        figures: as `irgen.report.build` gives them.
    """
    findings = [_fid(figures), _alarm(figures), _irscore(figures), _judges(figures)]
    fid = figures["fid"]
    if "worst" in fid and fid["worst"] < fid["guided"]:
        findings.append(
            Finding(
                "bad",
                "Do not trust this verifier: the images that it liked least are closer to real infrared "
                f"(FID {number(fid['worst'])}) than those that it chose ({number(fid['guided'])}).",
            )
        )
    if fid["grayscale"] is None:
        findings.append(
            Finding("open", "The source has no visible images of test frames, or too few: no grayscale baseline.")
        )
    elif fid["guided"] < fid["grayscale"]:
        findings.append(_against_gray("good", "closer to real infrared than", fid))
    else:
        findings.append(_against_gray("bad", "no closer to real infrared than", fid))
    return findings


def warnings(figures: Mapping[str, Any]) -> list[str]:
    """Say what keeps the figures from meaning what they seem to."""
    found = []
    n, dimensions, net = figures["n"], figures["dimensions"], figures["feature_net"]
    if n < FEW:
        found.append(
            f"Only {n} images on each side. At so few a FID is mostly bias: two samples of the same real "
            f"infrared are {number(figures['fid']['floor'])} apart here. Read differences, not values."
        )
    elif n <= dimensions:
        found.append(
            f"{n} images on each side, fewer than the {dimensions} feature dimensions: every FID is too high by "
            f"about the floor, {number(figures['fid']['floor'])}."
        )
    if net != "inception":
        found.append(
            f"Features come from {net}, not from Inception: these distances compare with one another, "
            "not with anything published."
        )
    if not figures["mix"]:
        shares = "; ".join(
            f"{name}: {', '.join(f'{count} {time or UNKNOWN}' for time, count in times.items())}"
            for name, times in figures["mixes"].items()
        )
        found.append(f"Day and night could not be mixed alike, which alone moves every distance. {shares}.")
    if not figures["intervals"]:
        found.append("No intervals: report.bootstrap is 0, so no difference below can be called real.")
    return found


def number(value: float) -> str:
    """Print a figure with three significant digits or so."""
    if abs(value) >= 100:
        text = f"{value:.1f}"
    elif abs(value) >= 1:
        text = f"{value:.2f}"
    else:
        text = f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4f}"
    if not float(text):
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def between(interval: list[float] | None) -> str:
    """Print an interval, or nothing."""
    return f" (95 % interval {number(interval[0])} to {number(interval[1])})" if interval else ""


def _fid(figures: Mapping[str, Any]) -> Finding:
    fid, gain = figures["fid"], figures["gain"]["fid"]
    interval = figures["intervals"].get("gain", {}).get("fid")
    change = f"FID {number(fid['unguided'])} unguided, {number(fid['guided'])} guided"
    if interval and interval[0] > 0:
        return Finding("good", f"Guidance helps: {change}, a gain of {number(gain)}{between(interval)}.")
    if interval and interval[1] < 0:
        return Finding("bad", f"Guidance does harm: {change}, a loss of {number(-gain)}{between(_negated(interval))}.")
    return Finding(
        "open",
        f"Guided images are not shown to be better than unguided ones: {change}, "
        f"a gain of {number(gain)}{between(interval) or ' without an interval'}.",
    )


def _irscore(figures: Mapping[str, Any]) -> Finding:
    score, gain = figures["irscore"], figures["gain"]["irscore"]
    interval = figures["intervals"].get("gain", {}).get("irscore")
    change = (
        f"{number(score['unguided'])} unguided, {number(score['guided'])} guided, a gain of {number(gain)}"
        f"{between(interval) or ' without an interval'}; real infrared has {number(score['real'])}"
    )
    if interval is None:
        return Finding("open", f"IRSCORE {change}.")
    guide = figures["guide"]
    if "irscore" not in guide:
        moved = "rises" if interval[0] > 0 else "is not shown to rise"
        return Finding("open", f"IRSCORE {moved}: {change}. The search maximised {' and '.join(guide)} instead.")
    also = f", beside {' and '.join(name for name in guide if name != 'irscore')}" if len(guide) > 1 else ""
    if interval[0] > 0:
        return Finding("good", f"IRSCORE rises: {change}. The search maximises it{also}, so this alone proves little.")
    return Finding("bad", f"IRSCORE is not shown to rise, though the search maximises it{also}: {change}.")


def _alarm(figures: Mapping[str, Any]) -> Finding:
    alarm = figures["alarm"]
    if alarm["rings"]:
        first = alarm["falls"][0]
        stop, fallen = alarm["stop_at_candidates"], " and ".join(first["judges"])
        advice = "do not search with this verifier" if stop == 1 else f"stop at {stop} candidates"
        return Finding(
            "bad",
            f"Alarm: the verifier is being hacked. From {first['from_nfe']:g} to {first['to_nfe']:g} NFE "
            f"{alarm['goal']} rises by {number(first['score'])} while {fallen} got worse beyond the interval. Stop at "
            f"{alarm['stop_at_nfe']:g} NFE: {advice}.",
        )
    if alarm["stop_at_candidates"] == 1:
        return Finding("open", "No search was made, so there is nothing that could hack the verifier.")
    if not figures["intervals"]:
        return Finding("open", "Whether the verifier is hacked cannot be told without intervals.")
    return Finding(
        "good",
        f"No sign of verifier hacking up to {alarm['stop_at_nfe']:g} NFE: while {alarm['goal']} rises, neither two "
        f"independent judges nor recall get worse beyond their intervals (asked: {', '.join(alarm['judges'])}).",
    )


def _judges(figures: Mapping[str, Any]) -> Finding:
    """Say what the independent nets' distances and realism think of guided against unguided images."""
    changes = {
        f"FID under {net}": (figures["changes"][net]["frechet"], -1)
        for net, judge in figures["judges"].items()
        if judge["independent"]
    }
    if "realism" in figures["changes"]["images"] and "realism" not in figures["guide"]:
        changes["realism"] = (figures["changes"]["images"]["realism"], 1)
    better = [name for name, (change, sign) in changes.items() if _beyond(change, sign)]
    worse = [name for name, (change, sign) in changes.items() if _beyond(change, -sign)]
    if worse:
        mood: Mood = "open" if better else "bad"
    else:
        mood = "good" if len(better) == len(changes) else "open"
    parts = [f"{len(better)} of {len(changes)} say guided images are the better ones" + _named(better)]
    parts.append(f"{len(worse)} the worse ones" + _named(worse))
    parts.append(f"{len(changes) - len(better) - len(worse)} see no difference beyond the interval")
    return Finding(mood, f"Judges that are independent of the verifier: {', '.join(parts)}.")


def _beyond(change: Mapping[str, float], sign: int) -> bool:
    return "low" in change and (change["low"] > 0 if sign > 0 else change["high"] < 0)


def _named(names: list[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _against_gray(mood: Mood, relation: str, fid: Mapping[str, float]) -> Finding:
    guided, gray = number(fid["guided"]), number(fid["grayscale"])
    return Finding(
        mood, f"Guided images are {relation} plain grayscale of the visible image ({guided} against {gray})."
    )


def _negated(interval: list[float]) -> list[float]:
    return [-interval[1], -interval[0]]
