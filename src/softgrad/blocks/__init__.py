"""How rows arrive: in memory now; from files and from a cluster by the same verb, `AbstractRowBlocks.sum`."""
