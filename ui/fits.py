"""What a forecast says, as HTML: whether it fits, a bar of what takes the memory, time, disk, other machines. Pure.

What colour says in the bar, patterns, the order of the legend and numbers say too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from pipeline.machines import HERE
from pipeline.machines import in_words as size
from ui import pictures, texts

Forecast = Mapping[str, Any]
RECKONED, KNOWN = 0.8, 0.95  # share of the memory beyond which it only just fits: by formula, by what was measured


def on_disk(count: float) -> str:
    """Bytes in the gigabytes that disks are sold in."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{round(count / 1e6)} MB"


def about(seconds: float) -> str:
    """A time nobody should take for exact."""
    for below, unit, wording in ((90, 1, texts.SECONDS), (5400, 60, texts.MINUTES), (172_800, 3600, texts.HOURS)):
        if seconds < below:
            return wording.format(n=max(1, round(seconds / unit)))
    return texts.DAYS.format(n=round(seconds / 86_400))


def machine(found: Forecast) -> str:
    """The machine as it stands in a sentence."""
    its = found["machine"]
    if its["key"] != HERE:
        return texts.THE_MACHINE.format(name=its["name"])
    return texts.THIS_GPU_MACHINE.format(name=its["name"]) if its["kind"] == "gpu" else texts.THIS_MACHINE


def verdict(found: Forecast) -> str:
    """Whether it fits, in a sentence, and what else is too small there."""
    its = found["machine"]
    close = found["peak"] > (KNOWN if found["corrected"] else RECKONED) * its["memory"]
    wording, level = (texts.FITS_JUST, "warn") if close else (texts.FITS, "good")
    if not found["fits"]:
        wording, level = texts.FITS_NOT, "bad"
    kind = texts.GPU_MEMORY if its["kind"] == "gpu" else texts.FREE_MEMORY
    said = wording.format(machine=machine(found), peak=size(found["peak"]), memory=size(its["memory"]), kind=kind)
    lines = [f'<p class="fits {level}">{pictures.SIGNS[level]} {escape(said)}</p>']
    return "".join([*lines, *(f'<p class="fits warn">! {escape(line)}</p>' for line in shortages(found))])


def changes(found: Forecast) -> str:
    """Of what does not fit: what makes it fit, each a button that sets the form's fields; or that nothing does."""
    if found["fits"]:
        return ""
    if not found["changes"]:
        return f"<p>{escape(texts.NOTHING_FITS)}</p>"
    buttons = "".join(
        f'<button type="button" class="suggested" data-change="{escape(json.dumps(change["set"]))}">'
        f"{escape(texts.CHANGE.format(change=change['sentence'], peak=size(change['peak'])))}</button> "
        for change in found["changes"]
    )
    on = texts.MAKES_IT_FIT.format(machine=machine(found))
    return f'<p class="changes">{escape(on)} {buttons}</p>'


def shortages(found: Forecast) -> list[str]:
    """What is too small besides the memory that a step needs."""
    ram, disk, said = found["ram"], found["disk"], []
    if found["machine"]["kind"] == "gpu" and ram["of"] is not None and ram["peak"] > ram["of"]:
        said.append(texts.RAM_SHORT.format(need=size(ram["peak"]), of=size(ram["of"])))
    if not disk["fits"]:
        said.append(texts.DISK_SHORT.format(need=on_disk(disk["needed"]), free=on_disk(disk["free"] or 0)))
    return said


def takes(found: Forecast) -> str:
    """How long it takes, or that this is not known yet."""
    known = found["seconds"]
    if not known:
        return texts.TIME_UNKNOWN
    if known["from"] == "earlier run":
        return texts.TIME_KNOWN.format(time=about(known["total"]), run=known["run"])
    wording = texts.TIME_RECKONED_HERE if found["machine"]["key"] == HERE else texts.TIME_RECKONED
    return wording.format(time=about(known["total"]))


def bar(found: Forecast) -> str:
    """The parts of the memory at its highest, side by side as wide as they are large, against the machine's whole."""
    terms, whole = _terms(found), found["machine"]["memory"]
    scale = max(found["peak"], whole)
    parts = "".join(
        f'<i class="part-{place}" style="width:{100 * bytes_ / scale:.2f}%"></i>' for place, _, bytes_ in terms
    )
    edge = f'<b style="left:{100 * whole / scale:.2f}%"></b>' if found["peak"] > whole else ""
    legend = "".join(
        f'<li title="{escape(texts.MEMORY_TERMS.get(name, ""))}"><i class="part-{place}"></i>{escape(name)} <b>{size(bytes_)}</b></li>'
        for place, name, bytes_ in terms
    )
    said = ", ".join(f"{name} {size(bytes_)}" for _, name, bytes_ in terms)
    words = texts.BAR_SAID.format(peak=size(found["peak"]), memory=size(whole), machine=machine(found), parts=said)
    return (
        f'<figure class="memory"><div class="memory-bar" role="img" aria-label="{escape(words)}">{parts}{edge}</div>'
        f"{_scale(found, scale)}<ul>{legend}</ul>{_corrected(found)}</figure>"
    )


def _terms(found: Forecast) -> list[tuple[int, str, float]]:
    """(place of its pattern, name, bytes) of every part, in the legend's order; one we have no words for comes last."""
    known = list(texts.MEMORY_TERMS)
    places = {name: place for place, name in enumerate([*known, *(n for n in found["terms"] if n not in known)])}
    return sorted((places[name], name, count) for name, count in found["terms"].items() if count)


def _scale(found: Forecast, scale: float) -> str:
    """What the bar's ends are: nothing, and the machine's memory; what is over stands beyond its edge."""
    whole = found["machine"]["memory"]
    free = whole - found["peak"]
    over = texts.FREE.format(size=size(free)) if free >= 0 else texts.OVER.format(size=size(-free))
    needs = texts.NEEDED[free >= 0].format(peak=size(found["peak"]), memory=size(whole))
    rows = at_once(found["micro_batch"])
    return f'<p class="memory-scale"><span>{escape(needs)} · {escape(rows)}</span><span>{escape(over)}</span></p>'


def _corrected(found: Forecast) -> str:
    if not found["corrected"]:
        return ""
    return f'<p class="quiet">{escape(texts.CORRECTED.format(run=found["corrected"]["run"]))}</p>'


def details(here: Forecast, found: Forecast) -> str:
    """RAM, disk and time in a line each, what the parts of the memory are, and how the machines fare with these settings."""
    ram, disk, on_gpu = found["ram"], found["disk"], found["machine"]["kind"] == "gpu"
    parts = ", ".join(f"{name} {on_disk(count)}" for name, count in disk["terms"].items() if count)
    known = [
        (texts.TIME, takes(found)),
        (texts.DISK, _of(texts.OF_FREE, on_disk, disk["needed"], disk["free"]) + f": {parts}"),
    ]
    if on_gpu:  # on a CPU it is the memory above
        known.append((texts.RAM, _of(texts.OF_WHOLE, size, ram["peak"], ram["of"])))
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in known)
    return f'<dl class="room">{told}</dl>{machines(here, found)}{explained(found)}'


def _of(wording: str, say: Callable[[float], str], need: float, there: float | None) -> str:
    return texts.NEEDS.format(need=say(need)) if there is None else wording.format(need=say(need), there=say(there))


def explained(found: Forecast) -> str:
    """What each part of the memory is, in a few words."""
    words = ((name, texts.MEMORY_TERMS.get(name)) for _, name, _ in _terms(found))
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(meant)}</dd>" for name, meant in words if meant)
    return f'<h2>{escape(texts.PARTS_MEAN)}</h2><dl class="room">{told}</dl>'


def machines(here: Forecast, found: Forecast) -> str:
    """A line per machine, this one first: its memory, what is needed there, whether it fits, and how long it takes."""
    ours = {**here["machine"], "peak": here["peak"], "fits": here["fits"]}
    ours["seconds"] = here["seconds"] and here["seconds"]["total"]
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in texts.MACHINE_HEADS)
    lines = "".join(_machine(each, each["key"] == found["machine"]["key"]) for each in (ours, *found["machines"]))
    return f'<div class="run-table machines"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _machine(each: Mapping[str, Any], chosen: bool) -> str:
    level, fits = ("good", texts.YES) if each["fits"] else ("bad", texts.NO)
    cells = (
        size(each["memory"]), size(each["peak"]), f'<span class="fits {level}">{pictures.SIGNS[level]} {fits}</span>',
        about(each["seconds"]) if each["seconds"] is not None else texts.TIME_NOT_KNOWN,
    )  # fmt: skip
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    mark = ' aria-current="true"' if chosen else ""
    return f'<tr{mark}><th scope="row">{escape(label(each))}</th>{row}</tr>'


def label(each: Mapping[str, Any]) -> str:
    """A machine's name in a list."""
    return texts.HERE if each["key"] == HERE else str(each["name"])


def measured(fit: Mapping[str, Any] | None) -> str:
    """Of a run: what was said beforehand, what its longest rows needed when they were tried, and how many are held at once."""
    if not fit:
        return ""
    said = [
        wording.format(size=size(fit[name]))
        for name, wording in (("forecast_bytes", texts.WAS_FORECAST), ("measured_bytes", texts.WAS_MEASURED))
        if isinstance(fit.get(name), int | float)
    ]
    tried = [each["from"] for each in fit["halved"] if isinstance(each, dict) and isinstance(each.get("from"), int)]
    fewer = texts.WERE_TOO_MANY.format(n=tried[0]) if tried else ""
    told = ", ".join([*said, at_once(fit["micro_batch"]) + fewer])
    return f'<p class="quiet">{escape(texts.MEMORY_OF_RUN.format(said=told))}</p>'


def at_once(rows: int) -> str:
    return texts.ROWS_AT_ONCE[rows == 1].format(n=rows)
