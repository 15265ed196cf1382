"""The commands of `stepcli store`."""
