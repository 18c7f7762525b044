"""The faces: what clients of the sidecar talk to, and what tells operators how it is; knows no upstream."""
