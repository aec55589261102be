package session

import (
	"time"

	"github.com/sallyport/sallyport/client"
)

// The ledger is what this process remembers about sessions that live in cookies: a cookie is a claim that
// may be old, the ledger knows what happened since. One entry per session: ended,
// refreshed to newer tokens than its cookie may show, or a refresh that failed. And the logouts that
// servers have told of, which name no session of ours.

const (
	ledgerShards = 64
	// maxLedger bounds the entries of all shards, at about 3 kB each where tokens are
	// kept. Beyond it the entry that would end first goes.
	maxLedger = 1 << 17
	// overtaking is how long after a request has shown the newest tokens an older Set-Cookie may still
	// reach the browser and bring the old ones back.
	overtaking = 10 * time.Minute
)

type ledger struct {
	shards  [ledgerShards]*expiring[sessionID, entry]
	logouts *logouts
}

// entry is replaced as a whole, never changed in place.
type entry struct {
	ended  bool
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
		l.shards[i] = newExpiring[sessionID, entry](maxLedger / ledgerShards)
	}
	return l
}

func (l *ledger) shard(id sessionID) *expiring[sessionID, entry] {
	return l.shards[id[0]%ledgerShards]
}

func (l *ledger) get(id sessionID, now time.Time) (entry, bool) { return l.shard(id).get(id, now) }

// end marks the session as ended until its absolute deadline and forgets its tokens. It returns
// the newest tokens that were known, nil if none, and whether the session was alive before.
func (l *ledger) end(id sessionID, now, absolute time.Time) (newest *tokens, was bool) {
	l.shard(id).update(id, now, func(e entry, _ time.Time) (entry, time.Time) {
		newest, was = e.newest, !e.ended
		return entry{ended: true}, absolute
	})
	return newest, was
}

// refreshed keeps newer tokens for requests that still come with older ones, until the session's absolute
// deadline or until the browser has them. It reports false, and keeps nothing, if the session
// has ended: logout wins over any refresh.
func (l *ledger) refreshed(id sessionID, now, absolute time.Time, t *tokens) (alive bool) {
	l.shard(id).update(id, now, func(e entry, deadline time.Time) (entry, time.Time) {
		if e.ended {
			return e, deadline
		}
		alive = true
		if e.newest != nil && e.newest.tokenGeneration >= t.tokenGeneration {
			return e, deadline
		}
		return entry{newest: t}, absolute
	})
	return alive
}

// seen notes the token generation that a request has shown.
func (l *ledger) seen(id sessionID, now, absolute time.Time, generation uint64) {
	l.shard(id).update(id, now, func(e entry, deadline time.Time) (entry, time.Time) {
		if e.ended || e.newest == nil {
			return e, deadline
		}
		switch shown := generation >= e.newest.tokenGeneration; {
		case shown && !e.shown:
			e.shown = true
			deadline = earlier(absolute, now.Add(overtaking))
		case !shown && e.shown: // an older Set-Cookie did overtake the newer
			e.shown = false
			deadline = absolute
		}
		return e, deadline
	})
}

// failedRefresh notes a failure.
func (l *ledger) failedRefresh(id sessionID, now, absolute time.Time, f *failure) {
	l.shard(id).update(id, now, func(e entry, deadline time.Time) (entry, time.Time) {
		if !e.ended {
			e.failed, deadline = f, absolute
		}
		return e, deadline
	})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
