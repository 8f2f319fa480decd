"""How to choose. One file per method; each satisfies `polyroute.protocols.Policy`."""
