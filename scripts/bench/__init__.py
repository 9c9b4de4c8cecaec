"""The benchmark behind ``make bench``: both servers beside others, in rounds, on this machine."""
