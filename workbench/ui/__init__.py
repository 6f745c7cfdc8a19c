"""The page: everything that imports gradio.

Importing this package imports nothing heavy; it only makes a later `import gradio` faster, see `quick_gradio`.
"""

from __future__ import annotations

from .quick_gradio import trim_imports

trim_imports()
