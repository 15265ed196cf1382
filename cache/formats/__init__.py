"""How tokens lie in files: Zarr v3 and HDF5 behind one face."""
