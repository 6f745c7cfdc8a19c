"""Readers: any format in, one `Episode` out. numpy only, never torch."""
