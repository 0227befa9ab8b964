"""Time and peak memory of softgrad beside its peers, in the same run. `python -m bench` from the root of the repository."""
