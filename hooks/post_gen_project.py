"""Print the next steps."""

import json
import sys

STEPS = json.loads(r"""{{ next_steps(cookiecutter) }}""")


def main() -> None:
    """Print the numbered steps, each with its commands below."""
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    print(f"\n{STEPS['title']}\n")
    for number, (text, commands) in enumerate(STEPS["steps"], 1):
        print(f"  {number}. {text}")
        for command in commands:
            print(f"       {command}")
    print(f"\n{STEPS['more']}")


if __name__ == "__main__":
    main()
