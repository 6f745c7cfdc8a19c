"""What a person sees: the page, the headless commands and what they are drawn from."""
