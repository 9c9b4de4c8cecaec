"""Go's rules for numbers, durations, URLs and header names, which the original's answers depend on."""
