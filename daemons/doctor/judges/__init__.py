"""One module an area: what was seen, as values, and a `check_*` for each thing that can be wrong with it. Pure."""
