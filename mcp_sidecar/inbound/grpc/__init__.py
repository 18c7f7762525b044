"""The gRPC face: our two services, health, and the chain in front of them. Nothing else in `inbound` sees grpc."""
