"""Serve one model on this machine, CPU or GPU, with OpenAI's protocol.

    uv run kto/ask/serve.py MODEL --port 8000

`generate.py` does this by itself if `inference` is "local". The arguments are those of `transformers serve`; the
environment with PyTorch is described at the end of this file, and uv makes it at the first start.
"""

import os
from pathlib import Path


def main() -> None:
    """Run `transformers serve` with our arguments."""
    os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")  # the versions are pinned
    import sys

    from huggingface_hub.constants import HF_HUB_CACHE
    from transformers.cli.transformers import app

    Path(HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)  # the server fails without it
    app(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()

# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "transformers[serving]==5.23.0",
#     "torch==2.13.0",
#     "accelerate==1.15.0",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-19T00:00:00Z"
# ///
