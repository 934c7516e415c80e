"""Threads that work on one job together: they wait for each other, and sleep between jobs.

A team is one block of memory; each word below has a cache line of its own. Helpers are threads
that Python has made and that stay in `serve`. They spin for some microseconds after a job and
then sleep in the kernel (futex); within a job whoever waits spins, then sleeps too. Nobody yields:
a yield gives a whole slice of time away, and on busy cores a step took ten times as long.
"""
from std.atomic import Atomic
from std.ffi import external_call
from std.memory import Pointer
from std.sys import llvm_intrinsic
from registers import Ints, Words

comptime LINE = 16  # 32-bit words of a cache line
comptime TICKET = 0  # goes up with every job; what helpers sleep on
comptime ARRIVED = LINE  # goes up with every thread that reaches a barrier; wraps around
comptime LEAVE = 2 * LINE  # not zero: helpers go home
comptime ASLEEP = 3 * LINE  # helpers that sleep, or are about to
comptime WAITING = 4 * LINE  # threads that sleep at a barrier, or are about to
comptime JOB = 5 * LINE  # words of the job follow
comptime JOB_WORDS = 16
comptime JOB_THREADS = 11
comptime JOB_BEFORE = 13
comptime TEAM_BYTES = 4 * (JOB + 2 * JOB_WORDS)

comptime PATIENCE = 2000  # pauses before sleeping, some tens of microseconds
comptime FUTEX = 202
comptime WAIT_PRIVATE = 128
comptime WAKE_PRIVATE = 129


@always_inline
def job_of(team: Ints) -> Words:
    """The job's words."""
    return team.unsafe_offset(JOB).unsafe_bitcast[Int]()


@always_inline
def pause():
    """Tell the core that this is a waiting loop."""
    _ = llvm_intrinsic["llvm.x86.sse2.pause", NoneType]()


@always_inline
def read(word: Ints) -> Int32:
    """A word that other threads write."""
    return Atomic[Int32].load(word)


struct Place(TrivialRegisterPassable):
    """One thread's place in a job."""

    var team: Ints
    var number: Int
    var threads: Int
    var before: Int32  # arrivals when the job began
    var due: Int32  # arrivals of this job at the barriers passed so far

    def __init__(out self, team: Ints, number: Int):
        self.team = team
        self.number = number
        self.threads = job_of(team)[unsafe_offset=JOB_THREADS]
        self.before = Int32(job_of(team)[unsafe_offset=JOB_BEFORE])
        self.due = 0

    @always_inline
    def first(self, n: Int) -> Int:
        """Where this thread's share of n begins."""
        return n * self.number // self.threads

    @always_inline
    def last(self, n: Int) -> Int:
        """Where this thread's share of n ends."""
        return n * (self.number + 1) // self.threads

    @always_inline
    def meet(mut self):
        """Wait until every thread of the job is here."""
        if self.threads == 1:
            return
        self.due += Int32(self.threads)
        var arrived = self.team.unsafe_offset(ARRIVED)
        var others = Atomic[Int32].fetch_add(arrived, 1) - self.before
        if others + 1 >= self.due:
            if read(self.team.unsafe_offset(WAITING)) > 0:
                wake(arrived)
            return
        for _ in range(PATIENCE):
            if read(arrived) - self.before >= self.due:
                return
            pause()
        self.sleep()

    @no_inline
    def sleep(self):
        """Wait in the kernel until all have arrived; the last one wakes the others."""
        var arrived = self.team.unsafe_offset(ARRIVED)
        var waiting = self.team.unsafe_offset(WAITING)
        _ = Atomic[Int32].fetch_add(waiting, 1)
        while True:
            var seen = read(arrived)
            if seen - self.before >= self.due:
                break
            wait(arrived, seen)
        _ = Atomic[Int32].fetch_add(waiting, -1)


@always_inline
def wait(word: Ints, seen: Int32):
    """Sleep until somebody wakes this word, unless it is another one already."""
    _ = external_call["syscall", Int](FUTEX, Int(word), WAIT_PRIVATE, Int(seen), 0, 0, 0)


@always_inline
def wake(word: Ints):
    """Wake all that sleep on this word."""
    _ = external_call["syscall", Int](FUTEX, Int(word), WAKE_PRIVATE, 1 << 20, 0, 0, 0)


def start(team: Ints):
    """Let the helpers begin the job that was written into the team.

    Arrivals are never set back: a helper may still be on its way out of the last barrier.
    """
    _ = Atomic[Int32].fetch_add(team, 1)
    if read(team.unsafe_offset(ASLEEP)) > 0:
        wake(team)


def next_job(team: Ints, seen: Int32) -> Int32:
    """Wait for a ticket other than the one seen last; returns it."""
    for _ in range(PATIENCE):
        var ticket = read(team)
        if ticket != seen:
            return ticket
        pause()
    var asleep = team.unsafe_offset(ASLEEP)
    _ = Atomic[Int32].fetch_add(asleep, 1)
    while read(team) == seen:
        wait(team, seen)
    _ = Atomic[Int32].fetch_add(asleep, -1)
    return read(team)


def dismiss(team: Ints):
    """Send the helpers home."""
    _ = Atomic[Int32].fetch_add(team.unsafe_offset(LEAVE), 1)
    _ = Atomic[Int32].fetch_add(team, 1)
    wake(team)
