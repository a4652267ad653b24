"""One module an area: fetch what the judges judge. Nothing here changes anything, beyond what its docstring says."""
