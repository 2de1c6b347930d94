"""`python -m mergesuite` is the same program as `mergesuite`."""

import sys

from mergesuite.cli import main

sys.exit(main())
