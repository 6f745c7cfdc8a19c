"""What the mask proves, and what the action uses: measured on the policy itself. torch, no web, no page."""
