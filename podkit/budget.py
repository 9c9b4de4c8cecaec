"""The memory, in bytes, that a process may hold for its clients."""


class Budget:
    """A number of bytes that connections share. Memory is charged before it is allocated."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def take(self, size: int) -> bool:
        """Charges `size` more bytes if they fit; returns whether they do."""
        if self.used + size > self.total:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Returns `size` bytes to the budget."""
        self.used -= size


class Share:
    """One owner's part of a budget, which can be returned as a whole."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def resize(self, size: int) -> bool:
        """Changes the charge to `size` bytes. False, without a change, if the budget is exhausted."""
        if size > self.size and not self._budget.take(size - self.size):
            return False
        if size < self.size:
            self._budget.give(self.size - size)
        self.size = size
        return True
