"""The benchmark behind ``make bench``: compares both servers with others on this machine, in rounds."""
