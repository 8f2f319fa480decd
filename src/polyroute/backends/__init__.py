"""How to carry out a call. One file per backend; each satisfies `polyroute.protocols.Backend`."""
