"""`daifu bench`: the real pipeline under load, on tables and queues of its own, with upstreams inside the process."""
