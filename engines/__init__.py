"""Where work runs beyond this process; both stages use it, and it knows neither."""
