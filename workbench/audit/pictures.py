"""The evidence: one picture a fault, each of which shows the data as stored and as they should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Integer

from trainer.episodes.episode import View
from trainer.episodes.source_settings import REVERSES, Turn

from .draw import QUIET, RIGHT, TEXT, TITLE, WRONG, Picture, drawn, legend, panels, plain
from .measured import Measured, from_world, project
from .planes import fit_affine

Arrows = tuple[np.ndarray, np.ndarray]


def turned_motion(measured: Measured, view: View, turn: Turn, predicted: Mapping[Turn, Arrows] | None) -> Picture:
    """The image as stored and turned, and the directions in which it should and does move."""
    rows, columns = REVERSES[turn]
    pairs = measured.pairs(view)
    image = measured.episode.rgb(view, pairs[len(pairs) // 2].start)
    figure, axes = panels(2 if predicted is None else 3, width=8.4, height=3.0)
    for ax, shown, title in (
        (axes[0], image, "as stored"),
        (axes[1], image[:: -1 if rows else 1, :: -1 if columns else 1], "as it should be"),
    ):
        ax.imshow(shown)
        plain(ax, title)
    caption = f"The {view} image as stored and turned."
    if predicted is not None:
        ways: tuple[tuple[Turn, str, str], ...] = (("none", WRONG, "as stored"), (turn, RIGHT, "turned"))
        for key, colour, name in ways:
            wanted, flow = predicted[key]
            if len(wanted):
                angle = np.degrees(
                    np.arctan2(wanted[:, 0] * flow[:, 1] - wanted[:, 1] * flow[:, 0], (wanted * flow).sum(1))
                )
                axes[2].hist(angle, bins=36, range=(-180, 180), color=colour, alpha=0.65, label=name)
        axes[2].set_xlabel("degrees off the prediction", fontsize=TEXT)
        axes[2].set_ylabel("pixels", fontsize=TEXT)
        axes[2].set_yticks([])  # only where they lie matters
        axes[2].set_xticks([-180, -90, 0, 90, 180])
        legend(axes[2])
        caption += " Right: the direction in which pixels move against what the robot's motion predicts; 0 is right."
    return drawn(figure, caption)


def depth_beside_rgb(measured: Measured, view: View) -> Picture:
    """Image and depth of one frame."""
    step = measured.spread(3)[-1]
    figure, axes = panels(2, width=6.4, height=3.2)
    axes[0].imshow(measured.episode.rgb(view, step))
    plain(axes[0], "image")
    shown = axes[1].imshow(measured.episode.depth(view, step), cmap="viridis")
    figure.colorbar(shown, ax=axes[1], shrink=0.8).set_label("m", fontsize=TEXT)
    plain(axes[1], "depth")
    return drawn(figure, f"Image and depth of step {step}: they do not lie the same way.")


def depth_histogram(measured: Measured, view: View, factor: float) -> Picture:
    """The values of depth on a logarithmic axis, as stored and multiplied, over the range that a table-top allows."""
    values = np.concatenate([measured.episode.depth(view, step).ravel() for step in measured.spread(5)])
    values = values[np.isfinite(values) & (values > 0)]
    figure, (ax,) = panels(1, width=6.4, height=3.0)
    low, high = min(values.min(), factor * values.min(), 0.02), max(values.max(), factor * values.max(), 10)
    bins = np.geomspace(low, high, 90)
    ax.axvspan(0.03, 10, color=QUIET, alpha=0.15, label="what a camera at a table sees")
    ax.hist(values, bins=bins, color=WRONG, alpha=0.75, label="taken as metres")
    ax.hist(values * factor, bins=bins, color=RIGHT, alpha=0.75, label=f"multiplied by {factor:g}")
    ax.set_xscale("log")
    ax.margins(y=0.5)  # the legend has its place above
    ax.set_xlabel("depth, m", fontsize=TEXT)
    ax.set_ylabel("pixels", fontsize=TEXT)
    legend(ax)
    return drawn(figure, f"Depth of the {view} view as stored and multiplied by {factor:g}.")


def plane_residuals(
    measured: Measured, view: View, ways: Mapping[str, Callable[[np.ndarray], Float[np.ndarray, "h w"]]]
) -> Picture:
    """How far every pixel is off the largest plane, under each way to read depth; each on the same scale."""
    step = measured.spread(3)[0]
    depth = measured.episode.depth(view, step).astype(np.float64)
    figure, axes = panels(1 + len(ways), width=9.0, height=3.0)
    axes[0].imshow(measured.episode.rgb(view, step))
    plain(axes[0], "image")
    fits = {name: fit_affine(way(depth)) for name, way in ways.items()}
    residuals = [fit.residual for fit in fits.values() if fit is not None]
    limit = 100 * 3 * max(residuals, default=0.01)
    shown = None
    for ax, (name, fit) in zip(axes[1:], fits.items(), strict=True):
        if fit is not None:
            shown = ax.imshow(100 * fit.map, cmap="PuOr", vmin=-limit, vmax=limit)
        plain(ax, name)
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(axes[1:]), shrink=0.8, extend="both")
        bar.set_label("off the plane, %", fontsize=TEXT)
        bar.ax.tick_params(labelsize=TEXT)
    return drawn(figure, "Distance of every pixel from the largest plane: a table is flat where the reading is right.")


def tool_track(measured: Measured, view: View, ways: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> Picture:
    """Where the tool projects over the episode, under each K and pose (None: the episode's)."""
    step = measured.spread(5)[len(measured.spread(5)) // 2]
    image = measured.episode.rgb(view, step)
    figure, axes = panels(len(ways), width=3.6 * len(ways), height=3.6)
    height, width = image.shape[:2]
    for ax, (name, (K, T)), colour in zip(axes, ways.items(), (WRONG, RIGHT), strict=False):
        poses = measured.episode.T_world_camera(view) if T is None else T
        ax.imshow(image, extent=(0, width, height, 0))
        title = name
        if measured.has_tool:
            inside = np.stack([from_world(measured.tool[t, :3, 3], poses[t]) for t in range(len(measured.tool))])
            path = project(inside, K)
            ax.plot(path[:, 0], path[:, 1], color="white", linewidth=3)
            ax.plot(path[:, 0], path[:, 1], color=colour, linewidth=1.6)
            ax.plot(*path[step], "o", color=colour, markeredgecolor="white", markersize=9, clip_on=True)
            u, v = path[step]
            if not (0 <= u <= width and 0 <= v <= height):
                title += ": the tool is not in the image"
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        plain(ax, title)
    said = "The line is where the tool projects over the episode, the dot where it is in this picture"
    return drawn(figure, f"{said} (step {step}); it must lie on the gripper.")


def channels_both_ways(measured: Measured, view: View) -> Picture:
    """The image as stored and with red and blue exchanged."""
    image = measured.episode.rgb(view, measured.spread(3)[0])
    figure, axes = panels(2, width=6.4, height=3.3)
    for ax, shown, title in ((axes[0], image, "as stored"), (axes[1], image[..., ::-1], "red and blue exchanged")):
        ax.imshow(shown)
        plain(ax, title)
    return drawn(figure, f"The {view} image both ways; wood and skin are warm, tables are seldom blue.")


def speed_over_time(
    values: Float[np.ndarray, " n"], marked: Integer[np.ndarray, " m"], label: str, name: str
) -> Picture:
    """A quantity a step, in the unit that `label` names, with the steps that are wrong marked."""
    figure, (ax,) = panels(1, width=7.2, height=2.8)
    ax.plot(values, color=RIGHT, linewidth=1.2, label="each step")
    ax.plot(marked, values[marked], "v", color=WRONG, markersize=8, label=name)
    ax.set_xlabel("step", fontsize=TEXT)
    ax.set_ylabel(label, fontsize=TEXT)
    legend(ax)
    return drawn(figure, f"{label[0].upper()}{label[1:]}; the marked ones do not fit their neighbours.")


def command_scatter(ways: tuple[np.ndarray, np.ndarray], made: np.ndarray, names: tuple[str, str]) -> Picture:
    """Commanded against made motion, quarter-second sums, axis by axis, in two readings."""
    figure, axes = panels(2, width=7.6, height=3.6)
    total = _sums(made)
    for ax, commanded, name, colour in zip(axes, ways, names, (WRONG, RIGHT), strict=True):
        asked = _sums(commanded)
        for axis, marker in enumerate("o^s"):
            ax.plot(
                1000 * asked[:, axis], 1000 * total[:, axis], marker, color=colour, ms=3.5, alpha=0.5, label="xyz"[axis]
            )
        reach = 1000 * max(np.abs(total).max(), 1e-6)
        ax.plot([-reach, reach], [-reach, reach], color=QUIET, linewidth=1, linestyle="--", label="made = commanded")
        ax.set_title(name, fontsize=TITLE)
        ax.set_xlabel("commanded, mm", fontsize=TEXT)
        ax.set_ylabel("made, mm", fontsize=TEXT)
        legend(ax)
    return drawn(
        figure, "Commanded and made motion over five steps, as stated and as found; a controller may fall short."
    )


def gripper_over_time(command: Float[np.ndarray, " t"], opening: Float[np.ndarray, " t"], hz: float) -> Picture:
    """Command and opening over time."""
    figure, (ax,) = panels(1, width=7.2, height=2.8)
    seconds = np.arange(len(command)) / hz
    ax.plot(seconds, command, color=WRONG, drawstyle="steps-post", label="command as stored")
    ax.plot(seconds, opening, color=RIGHT, label="measured opening")
    ax.set_xlabel("seconds", fontsize=TEXT)
    ax.set_ylabel("0 shut .. 1 open", fontsize=TEXT)
    legend(ax)
    return drawn(figure, "The gripper opens when it is told to shut: command and opening run against each other.")


def still_pixels(measured: Measured, view: View) -> Picture:
    """How much a still scene trembles between two frames."""
    steps = measured.steps
    middle = len(steps) // 2
    before, after = (measured.episode.rgb(view, int(steps[i])) for i in (middle - 1, middle))
    change = np.abs(after.astype(np.int16) - before.astype(np.int16)).max(-1)
    figure, axes = panels(2, width=6.8, height=3.2)
    axes[0].imshow(after)
    plain(axes[0], "image")
    shown = axes[1].imshow(change, cmap="magma", vmin=0, vmax=16)
    plain(axes[1], "change since the frame before")
    figure.colorbar(shown, ax=axes[1], shrink=0.8, extend="max").set_label("grey levels", fontsize=TEXT)
    return drawn(figure, "A renderer leaves a still background black in the right-hand picture.")


def _sums(steps: np.ndarray) -> np.ndarray:
    total = np.cumsum(np.concatenate([np.zeros((1, 3)), steps]), axis=0)
    return total[5:] - total[:-5]
