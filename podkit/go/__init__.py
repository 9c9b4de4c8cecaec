"""Go's rules that the contract rests on: numbers, durations, URLs, header names."""
