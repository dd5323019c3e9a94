"""The Merkle tree of RFC 6962 section 2.1, held in memory as complete levels. Hashes are 32-byte SHA-256."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Root over leaf hashes. Pairing level by level, a lone last node moving up, is the tree of RFC 6962."""
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


class MerkleTree:
    """Grows by leaf hashes; answers roots and proofs for its present and every earlier size. About 64 bytes a leaf."""

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Add leaf hashes; complete parents are computed at once (amortised constant work)."""
        for value in hashes:
            self._levels[0] += value
            self._grow()

    def _grow(self) -> None:
        level, count = 0, self.size
        while count % 2 == 0:
            if level + 1 == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level + 1] += node_hash(self.node(level, count - 2), self.node(level, count - 1))
            level, count = level + 1, count // 2

    def node(self, level: int, index: int) -> bytes:
        """A complete node: level 0 are leaf hashes."""
        return bytes(self._levels[level][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """Root at `size` leaves, now when not given."""
        size = self._checked(size)
        return EMPTY_ROOT if size == 0 else self._subtree(0, size)

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Audit path of leaf `index` in the tree of `size` leaves, leaf to root (RFC 6962 section 2.1.1)."""
        size = self._checked(size)
        if not 0 <= index < size:
            message = f"no leaf {index} in a tree of {size}"
            raise ValueError(message)
        path: list[bytes] = []
        start, stop = 0, size
        while stop - start > 1:
            split = start + _split(stop - start)
            if index < split:
                path.append(self._subtree(split, stop))
                stop = split
            else:
                path.append(self._subtree(start, split))
                start = split
        return tuple(reversed(path))

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that the tree of `size` leaves extends the one of `old` leaves (RFC 6962 section 2.1.2)."""
        size = self._checked(size)
        if not 0 < old <= size:
            message = f"no consistency proof from {old} to {size}"
            raise ValueError(message)
        return tuple(self._subproof(old, 0, size, is_known=True))

    def _subproof(self, old: int, start: int, stop: int, *, is_known: bool) -> list[bytes]:
        if old == stop - start:
            return [] if is_known else [self._subtree(start, stop)]
        split = _split(stop - start)
        if old <= split:
            return [*self._subproof(old, start, start + split, is_known=is_known), self._subtree(start + split, stop)]
        return [*self._subproof(old - split, start + split, stop, is_known=False), self._subtree(start, start + split)]

    def _subtree(self, start: int, stop: int) -> bytes:
        count = stop - start
        if count & (count - 1) == 0 and start % count == 0:
            level = count.bit_length() - 1
            return self.node(level, start >> level)
        split = start + _split(count)
        return node_hash(self._subtree(start, split), self._subtree(split, stop))

    def _checked(self, size: int | None) -> int:
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            message = f"the tree has {self.size} leaves, not {size}"
            raise ValueError(message)
        return size


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Root that `path` proves for leaf hash `leaf`, or `None` when the path has the wrong length (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    node, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if node % 2 == 1 or node == last:
            value = node_hash(sibling, value)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    return value if last == 0 else None


def verify_consistency(sizes: tuple[int, int], roots: tuple[bytes, bytes], path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree (sizes[1], roots[1]) extends (sizes[0], roots[0]) (RFC 9162 section 2.1.4.2)."""
    old, new = sizes
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and roots[0] == roots[1]
    steps = list(path) if old & (old - 1) else [roots[0], *path]
    if not steps:
        return False
    node, last = old - 1, new - 1
    while node % 2 == 1:
        node, last = node >> 1, last >> 1
    first = second = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if node % 2 == 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and first == roots[0] and second == roots[1]
