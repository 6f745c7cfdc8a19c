"""Everything that imports gradio."""
