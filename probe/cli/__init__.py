"""The commands `probe`, `sweep`, `results`, `report`, `export` and the analyses."""
