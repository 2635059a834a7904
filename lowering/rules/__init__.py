"""The lowerings, by family; `families` says which file has which."""
