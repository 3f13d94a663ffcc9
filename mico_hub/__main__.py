"""`python -m mico_hub`: the command."""

import sys

from mico_hub.cli import main

if __name__ == "__main__":
    sys.exit(main())
