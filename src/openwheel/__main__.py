"""``python -m openwheel``."""

from openwheel.cli import main

main()
