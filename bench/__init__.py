"""Measures the sidecar against other proxies on this machine; no part of the product and not installed with it."""
