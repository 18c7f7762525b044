"""The gRPC face: our two services, health, and the chain in front of them. The only part of `inbound` that sees grpc."""
