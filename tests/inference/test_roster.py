"""The choice among model servers: properties over any order of events, by an injected clock."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from stream.inference.roster import Member, Roster


class Choices(RuleBasedStateMachine):
    """Servers come, go, are ejected and return, and prompts begin and end, in any order."""

    running = Bundle("running")

    @initialize(servers=st.integers(1, 4))
    def begin(self, servers):
        """Some servers, long in service."""
        self.now = 0.0
        self.roster = Roster(clock=lambda: self.now)
        self.added = 0
        for _ in range(servers):
            self.add()
        self.now = 100.0

    @rule()
    def add(self):
        """A server comes."""
        self.added += 1
        self.roster.add(f"host-{self.added}:8001")

    @rule(pick=st.randoms())
    def remove(self, pick):
        """A server goes."""
        if members := list(self.roster):
            self.roster.remove(pick.choice(members).address)

    @rule(pick=st.randoms())
    def eject(self, pick):
        """A server is taken out of service."""
        if members := list(self.roster):
            self.roster.eject(pick.choice(members))

    @rule(pick=st.randoms())
    def restore(self, pick):
        """A server that was ejected returns."""
        if out := [member for member in self.roster if not member.in_service]:
            self.roster.restore(pick.choice(out))

    @rule(seconds=st.floats(0.1, 20))
    def wait(self, seconds):
        """Time passes."""
        self.now += seconds

    @rule(target=running, avoided=st.integers(0, 2))
    def prompt(self, avoided) -> Member | None:
        """A prompt goes to the least loaded server in service, and avoids some where there is another."""
        serving = [member for member in self.roster if member.in_service]
        avoid = serving[:avoided]
        chosen = self.roster.choose(avoid=avoid)
        if chosen is None:
            assert not serving
            return None
        assert chosen in serving
        assert chosen not in avoid or len(avoid) == len(serving)
        candidates = [member for member in serving if member not in avoid] or serving
        settled = [member for member in candidates if self.now - member.since >= 10]
        if chosen in settled:
            assert chosen.in_flight == min(member.in_flight for member in settled)
        elif settled:  # one that is new has less, by more than its small share
            assert chosen.in_flight < min(member.in_flight for member in settled)
        chosen.in_flight += 1
        return chosen

    @rule(member=consumes(running))
    def end(self, member):
        """A prompt ends."""
        if member is not None:
            member.in_flight -= 1
            assert member.in_flight >= 0


Choices.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRosterChoosesTheLeastLoadedServerInService = Choices.TestCase


def _share_of_the_second(roster: Roster, second: Member, prompts: int) -> float:
    """Share of prompts that the second of two servers gets while none of them ends."""
    for member in roster:
        member.in_flight = 0
    for _ in range(prompts):
        chosen = roster.choose()
        chosen.in_flight += 1
    return second.in_flight / prompts


def test_roster_gives_a_server_that_returned_its_share_slowly():
    """A server that has returned gets a tenth of the other's load at first, and as much in the end."""
    now = 0.0
    roster = Roster(clock=lambda: now)
    roster.add("one:8001")
    second = roster.add("two:8001")
    now = 60.0
    roster.eject(second)
    assert _share_of_the_second(roster, second, 110) == 0
    roster.restore(second)
    assert 0.07 < _share_of_the_second(roster, second, 110) < 0.11
    now += 5.0
    assert 0.3 < _share_of_the_second(roster, second, 110) < 0.36
    now += 5.0
    assert _share_of_the_second(roster, second, 110) == 0.5


def test_roster_takes_turns_between_idle_servers():
    """Prompts that come one after another go to all servers, not to the first again and again."""
    roster = Roster()
    for name in "abc":
        roster.add(f"{name}:8001")
    assert [roster.choose().address[0] for _ in range(6)] == list("abcabc")
