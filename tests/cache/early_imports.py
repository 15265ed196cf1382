"""For scripts that fork many children: what a store's code imports where it is first needed.

Each child would import it again, half a second of its life: most kills would hit that, not the
store. No thread is started.
"""

import h5py  # noqa: F401
import pyarrow
import zarr  # noqa: F401

pyarrow.array([1])  # imports pandas, where it is installed
