"""What a process holds for its clients, in bytes, and who may have more."""


class Budget:
    """A number of bytes that connections share. What is held is taken before it is made."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0

    def take(self, size: int) -> bool:
        """Whether `size` more bytes may be held; if so, they count from now on."""
        if self.used + size > self.total:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """`size` bytes are held no longer."""
        self.used -= size


class Share:
    """The part of a budget that one owner holds, so that it can be given back as a whole."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def resize(self, size: int) -> bool:
        """Hold `size` bytes in place of what was held. False, and no change, where the budget lacks them."""
        if size > self.size and not self._budget.take(size - self.size):
            return False
        if size < self.size:
            self._budget.give(self.size - size)
        self.size = size
        return True
