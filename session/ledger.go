package session

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
)

// The ledger is what this process remembers about sessions that live in cookies: a cookie is a claim that
// may be old, the ledger knows what happened since. One entry per session: ended,
// refreshed to newer tokens than its cookie may show, or a refresh that failed. And the logouts that
// servers have told of, which name no session of ours.

const (
	ledgerShards = 64
	// maxLedger bounds the living sessions of all shards, at about 3 kB each where tokens are kept. Beyond it the one that
	// would end first goes: its browser has the tokens by then, mostly.
	maxLedger = 1 << 17
	// maxEnded bounds the ended ones, at about 200 bytes each. They have a room of their own, for one that is forgotten
	// may come back: see EventEndForgotten.
	maxEnded = 1 << 18
	// overtaking is how long after a request has shown the newest tokens an older Set-Cookie may still
	// reach the browser and bring the old ones back.
	overtaking = 10 * time.Minute
)

// EventEndForgotten is the kind of the event that a session which ended before its time is not remembered any more, because
// there are too many: a copy of its cookie is good again, until its deadlines. Session says which.
const EventEndForgotten = "session.end_forgotten"

type ledger struct {
	shards  [ledgerShards]shard
	logouts *logouts
}

type shard struct {
	mu    sync.Mutex // of what writes
	alive *expiring[sessionID, entry]
	ended *expiring[sessionID, string] // with the reason
}

// entry is replaced as a whole, never changed in place.
type entry struct {
	ended  bool
	reason string  // of the end
	newest *tokens // nil: as the cookie says
	shown  bool    // a request has shown newest: the browser has it
	failed *failure
}

// failure is what became of the last refresh of one token generation.
type failure struct {
	tokenGeneration uint64
	err             *client.Error
	spent           int // how often the refresh token was sent without a usable answer
	count           int // failures in a row
	until           time.Time
}

func newLedger() *ledger {
	l := &ledger{logouts: newLogouts(maxLogouts)}
	for i := range l.shards {
		l.shards[i].alive = newExpiring[sessionID, entry](maxLedger / ledgerShards)
		l.shards[i].ended = newExpiring[sessionID, string](maxEnded / ledgerShards)
	}
	return l
}

func (l *ledger) shard(id sessionID) *shard { return &l.shards[id[0]%ledgerShards] }

// get looks for the end last: end writes it first, so who misses the tokens that it takes away finds it.
func (l *ledger) get(id sessionID, now time.Time) (entry, bool) {
	s := l.shard(id)
	e, ok := s.alive.get(id, now)
	if reason, ended := s.ended.get(id, now); ended {
		return entry{ended: true, reason: reason}, true
	}
	return e, ok
}

// end marks the session as ended until its absolute deadline and forgets its tokens. It returns
// the newest tokens that were known, nil if none, whether the session was alive before, and the session
// whose end had to be forgotten for it, nil if none. That it was replaced outdoes an earlier reason.
func (l *ledger) end(id sessionID, now, absolute time.Time, reason string) (newest *tokens, was bool, lost *sessionID) {
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	was = true
	lost = s.ended.update(id, now, func(before string, deadline time.Time) (string, time.Time) {
		if deadline.IsZero() {
			return reason, absolute
		}
		if was = false; reason != replaced {
			reason = before
		}
		return reason, absolute
	})
	if e, ok := s.alive.get(id, now); ok {
		newest = e.newest
	}
	s.alive.remove(id)
	return newest, was, lost
}

// change replaces the entry of a session that has not ended, and reports whether it has not: logout wins over all else.
func (l *ledger) change(id sessionID, now time.Time, f func(e entry, deadline time.Time) (entry, time.Time)) (alive bool) {
	s := l.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ended := s.ended.get(id, now); ended {
		return false
	}
	s.alive.update(id, now, f)
	return true
}

// refreshed keeps newer tokens for requests that still come with older ones, until the session's absolute
// deadline or until the browser has them. It reports false, and keeps nothing, if the session has ended.
func (l *ledger) refreshed(id sessionID, now, absolute time.Time, t *tokens) (alive bool) {
	return l.change(id, now, func(e entry, deadline time.Time) (entry, time.Time) {
		if e.newest != nil && e.newest.tokenGeneration >= t.tokenGeneration {
			return e, deadline
		}
		return entry{newest: t}, absolute
	})
}

// seen notes the token generation that a request has shown.
func (l *ledger) seen(id sessionID, now, absolute time.Time, generation uint64) {
	l.change(id, now, func(e entry, deadline time.Time) (entry, time.Time) {
		if e.newest == nil {
			return e, deadline
		}
		switch shown := generation >= e.newest.tokenGeneration; {
		case shown && !e.shown:
			e.shown = true
			if e.failed == nil { // how often a refresh token was sent is not forgotten before the session ends
				deadline = earlier(absolute, now.Add(overtaking))
			}
		case !shown && e.shown: // an older Set-Cookie did overtake the newer
			e.shown = false
			deadline = absolute
		}
		return e, deadline
	})
}

// failedRefresh notes a failure.
func (l *ledger) failedRefresh(id sessionID, now, absolute time.Time, f *failure) {
	l.change(id, now, func(e entry, _ time.Time) (entry, time.Time) {
		e.failed = f
		return e, absolute
	})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
