"""Traces, metrics and logs for OpenTelemetry: the only user of its SDK, and imported only where it is switched on.

The hot path fills structs (`spans`, `inbound.metrics`, log lines); here they become what a collector understands, in
threads of their own (`delivery`). Knows no call's meaning and no listener.
"""
