"""Gradio's look: system fonts (no font is fetched), one accent, small radii, dense."""

from __future__ import annotations

from gradio.themes import Base, Color, sizes

_ACCENT = Color(
    c50="#eef4ff", c100="#dbe7ff", c200="#bcd2ff", c300="#8fb4ff", c400="#6ea0ff", c500="#2f6feb",
    c600="#245bc7", c700="#1f4ca3", c800="#1d3f84", c900="#1a356c", c950="#112247",
)  # fmt: skip
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")


def make_theme() -> Base:
    """The theme of the whole page, light and dark."""
    return Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue="gray",
        spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_sm,
        text_size=sizes.text_sm,
        font=_FONTS,
        font_mono=_MONO,
    )
