"""From a client's request to its response: route, policy, lease, exchange, retry, and the bridge between eras."""
