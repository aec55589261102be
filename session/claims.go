package session

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// maxClaims bounds the consumed logins with a code that are remembered, about 150 bytes each, until their own
	// deadline. With more, logins fail rather than be taken twice.
	maxClaims = 1 << 20
	// maxIdleClaims bounds the others. Anybody can make them, without an account anywhere; with more, the one that would end
	// first goes, and all that can be done twice then is to fail.
	maxIdleClaims = 1 << 16
)

// claim is a hash of a state.
type claim [sha256.Size]byte

func claimOf(state string) claim { return sha256.Sum256([]byte(state)) }

// claims are the states that were used up. Those that let a code be sent have a room of their own, so that what costs a
// stranger nothing keeps nobody from logging in.
type claims struct {
	mu       sync.Mutex // of take
	spending *expiring[claim, struct{}]
	idle     *expiring[claim, struct{}]
}

func newClaims() *claims {
	return &claims{spending: newExpiring[claim, struct{}](maxClaims), idle: newExpiring[claim, struct{}](maxIdleClaims)}
}

// taken reports whether the claim was made.
func (c *claims) taken(key claim, now time.Time) bool {
	_, spent := c.spending.get(key, now)
	_, idle := c.idle.get(key, now)
	return spent || idle
}

// take makes the claim unless it was made, and reports which. full means neither: only who spends is refused for that.
func (c *claims) take(key claim, now, deadline time.Time, spending bool) (added, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.taken(key, now):
		return false, false
	case spending:
		return c.spending.add(key, struct{}{}, now, deadline)
	}
	c.idle.update(key, now, func(struct{}, time.Time) (struct{}, time.Time) { return struct{}{}, deadline })
	return true, false
}
