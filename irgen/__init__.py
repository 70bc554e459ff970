"""irgen builds labelled synthetic infrared datasets: adapt, search, label, write, validate."""

import os

__version__ = "0.1.0"

# libgomp's threads spin while they wait. Where the cores are shared, that costs a small model 20 times its time
# (measured: 74 s against 1.8 s); where they are not, sleeping costs next to nothing. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
