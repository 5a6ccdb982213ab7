"""The code behind the scripts: what they share here, and a package per step."""
