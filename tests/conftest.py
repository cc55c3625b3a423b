"""For all tests: programs that they start import what is installed, never the source tree beside.

That is what is tested, and its kernels are compiled already.
"""

import os

os.environ["PYTHONSAFEPATH"] = "1"
