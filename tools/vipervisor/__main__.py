"""`python -m vipervisor` is `hv`."""

import sys

from .cli import main

sys.exit(main())
