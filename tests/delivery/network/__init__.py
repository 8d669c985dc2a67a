"""The network between workers and a broker: a proxy, and what may happen to the frames that pass it."""
