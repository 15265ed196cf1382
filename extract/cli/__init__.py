"""The commands `extract`, `preview`, `doctor` and the lists of data sets and backbones."""
