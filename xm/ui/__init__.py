"""The page: Gradio over the core, nothing computed here that the core cannot do by itself."""

import os

# Gradio reads these when it is imported; with analytics on it would call two hosts from every visitor's start.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from xm.ui.build import build, launch  # noqa: E402  the line above must come first

__all__ = ["build", "launch"]
