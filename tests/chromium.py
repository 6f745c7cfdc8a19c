"""How the browser tests and the page's benchmark start Chromium: software rendering, and silent on the network."""

from __future__ import annotations

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # What the browser itself would ask the internet for takes the time of what is tested.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
