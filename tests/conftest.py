"""One thread a process: the tests fill the cores by being several processes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
