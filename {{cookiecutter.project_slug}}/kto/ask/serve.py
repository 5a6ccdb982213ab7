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
# constraint-dependencies = [
#     "accelerate==1.15.0",
#     "annotated-doc==0.0.7",
#     "annotated-types==0.8.0",
#     "anyio==4.16.0",
#     "click==8.5.1",
#     "colorama==0.4.6 ; sys_platform == 'win32'",
#     "cuda-bindings==13.5.0 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "cuda-pathfinder==1.9.0 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "cuda-toolkit==13.0.3.0 ; sys_platform == 'linux'",
#     "fastapi==0.165.0",
#     "filelock==4.2.11",
#     "fsspec==2026.9.0",
#     "h11==0.16.0",
#     "hf-xet==1.8.0 ; platform_machine == 'AMD64' or platform_machine == 'ARM64' or platform_machine == 'aarch64' or platform_machine == 'amd64' or platform_machine == 'arm64' or platform_machine == 'x86_64'",
#     "httpcore2==2.16.2 ; sys_platform != 'emscripten'",
#     "httpx2==2.16.2",
#     "httpx2-jsfetch==1.0 ; python_full_version >= '3.12' and sys_platform == 'emscripten'",
#     "huggingface-hub==2.4.0",
#     "idna==3.20",
#     "jinja2==3.1.6",
#     "jiter==0.19.0",
#     "markdown-it-py==4.3.0",
#     "markupsafe==3.0.4",
#     "mdurl==0.1.2",
#     "mpmath==1.3.0",
#     "networkx==3.6.1 ; python_full_version < '3.12'",
#     "networkx==3.7 ; python_full_version >= '3.12'",
#     "numpy==2.4.6 ; python_full_version < '3.12'",
#     "numpy==2.5.5 ; python_full_version >= '3.12'",
#     "nvidia-cublas==13.1.1.3 ; sys_platform == 'linux'",
#     "nvidia-cuda-cupti==13.0.85 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cuda-nvrtc==13.0.88 ; sys_platform == 'linux'",
#     "nvidia-cuda-runtime==13.0.96 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cudnn-cu13==9.20.0.48 ; sys_platform == 'linux'",
#     "nvidia-cufft==12.0.0.61 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cufile==1.15.1.6 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-curand==10.4.0.35 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusolver==12.0.4.66 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusparse==12.6.3.3 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusparselt-cu13==0.8.1 ; sys_platform == 'linux'",
#     "nvidia-nccl-cu13==2.29.7 ; sys_platform == 'linux'",
#     "nvidia-nvjitlink==13.5.37 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-nvshmem-cu13==3.4.5 ; sys_platform == 'linux'",
#     "nvidia-nvtx==13.0.85 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "openai==3.52.0",
#     "opentelemetry-api==1.45.2",
#     "packaging==26.3",
#     "psutil==7.2.2",
#     "pydantic==2.14.3",
#     "pydantic-core==2.50.4",
#     "pygments==2.21.0",
#     "pyyaml==6.0.3",
#     "regex==2026.11.15",
#     "rich==15.0.0",
#     "safetensors==0.8.0",
#     "setuptools==84.2.1",
#     "shellingham==1.5.4",
#     "sniffio==1.3.1",
#     "starlette==1.10.0",
#     "sympy==1.14.0",
#     "tokenizers==0.23.3",
#     "torch==2.13.0",
#     "tqdm==4.70.1",
#     "transformers==5.23.0",
#     "triton==3.7.1 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "truststore==0.10.5 ; sys_platform != 'emscripten'",
#     "typer==0.29.2",
#     "typing-extensions==4.16.0",
#     "typing-inspection==0.4.5",
#     "uvicorn==0.54.0",
# ]
# ///
