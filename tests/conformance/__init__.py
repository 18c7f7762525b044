"""The official conformance suite, run against the sidecar; `make test-conformance`. Plain `make test` leaves it out."""
