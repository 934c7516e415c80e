"""The coarse index: rows dealt into lists by their nearest centroid, each with its sign bits.

A list is a chain of blocks of 64 places: `heads` names the first block of every list, `links`
the block after a block, and `ids` the row in every place. A place without a row holds a
number that no row has. Chains may grow while they are walked; whatever they hold, no walk
leaves the blocks, and none visits more blocks than there are.
"""
from std.memory import Pointer
from lanes import BLOCK_ROWS, Bytes, CHUNK, Counts, Ints, Longs, Shorts
from codes1 import Source, row_of_position, scan1

comptime Blocks = CHUNK // BLOCK_ROWS  # blocks of one chunk


@fieldwise_init
struct Lists(TrivialRegisterPassable):
    """Addresses of a coarse index's parts and its shape; checked before it is made."""

    var heads: Ints
    var links: Ints
    var ids: Counts
    var codes: Bytes
    var lists: Int
    var blocks: Int


@fieldwise_init
struct Walk(TrivialRegisterPassable):
    """A way through some lists, a chunk at a time."""

    var all: Lists
    var chosen: Longs
    var count: Int
    var at: Int  # lists begun
    var block: Int  # the block that comes next; -1 when the next list is due
    var left: Int  # blocks that may still be visited
    var visited: Ints  # the blocks of the chunk

    @always_inline
    def next_block(mut self) -> Int:
        """The next block of the chosen lists; -1 at their end."""
        while self.block < 0 or self.block >= self.all.blocks:
            if self.at >= self.count:
                return -1
            var chosen = Int(self.chosen[unsafe_offset=self.at])
            self.at += 1
            if chosen >= 0 and chosen < self.all.lists:
                self.block = Int(self.all.heads[unsafe_offset=chosen])
        if self.left == 0:
            return -1
        self.left -= 1
        var here = self.block
        self.block = Int(self.all.links[unsafe_offset=here])
        return here

    @always_inline
    def row(self, place: Int) -> Int:
        """The row in a place of the chunk."""
        var block = Int(self.visited[unsafe_offset=place // BLOCK_ROWS])
        return Int(self.all.ids[unsafe_offset=block * BLOCK_ROWS + place % BLOCK_ROWS])

    @always_inline
    def scan_chunk(mut self, source: Source, n: Int, sums: Shorts) -> Int:
        """Estimates of the next blocks; returns how many positions they have. Places without a
        row below `n` get 0.
        """
        var blocks = 0
        while blocks < Blocks:
            var block = self.next_block()
            if block < 0:
                break
            self.visited[unsafe_offset=blocks] = Int32(block)
            blocks += 1
        var start = 0
        while start < blocks:  # blocks that follow each other are scanned together
            var block = Int(self.visited[unsafe_offset=start])
            var end = start + 1
            while end < blocks and Int(self.visited[unsafe_offset=end]) == block + end - start:
                end += 1
            scan1(
                source.codes.unsafe_offset(block * source.stride),
                source.dim,
                end - start,
                source.tables,
                sums.unsafe_offset(start * BLOCK_ROWS),
            )
            start = end
        for i in range(blocks):
            var ids = self.all.ids.unsafe_offset(Int(self.visited[unsafe_offset=i]) * BLOCK_ROWS)
            var most = ids.unsafe_load[width=16](0)
            comptime for part in range(1, BLOCK_ROWS // 16):
                most = max(most, ids.unsafe_load[width=16](part * 16))
            if Int(most.reduce_max()) >= n:
                for position in range(i * BLOCK_ROWS, (i + 1) * BLOCK_ROWS):
                    if self.row(row_of_position(position)) >= n:
                        sums[unsafe_offset=position] = 0
        return blocks * BLOCK_ROWS
