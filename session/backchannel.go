package session

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/client"
)

const (
	// maxLogouts bounds the logouts that are remembered, and the ids of their tokens, about 200 bytes each. With
	// more, logout requests fail until the oldest have ended: one that is forgotten would be a session that lives.
	maxLogouts = 1 << 18
	// afterwards is how long after a logout a session may still be written whose tokens were asked for before it.
	afterwards = time.Minute
	// endedByServer is the reason of the events and errors.
	endedByServer = "backchannel_logout"
)

// EndByLogoutToken ends what a logout token of c names (OpenID Connect Back-Channel Logout 1.0 §2.7): the session
// with its sid, or without a sid all sessions of its subject, of that issuer; with a sid also those sessions of the subject
// for which the server gave no sid. No such session is success. In this process only.
//
// Sessions live in browsers, so the logout is remembered until the last of them would have ended. A session is concerned
// if its tokens were asked for before the logout arrived; a later login lives, with the same sid too. It
// ends at its next request, with event session.ended and reason "backchannel_logout", and its tokens
// are revoked then, by c, best effort, and only if its scopes have no offline_access: what was issued
// with that is meant to outlive the session (§2.7) and is left to the server. The session itself ends all the same.
//
// Moments are by this process's clock. If it ran ahead when the logout arrived and was then set back, logins end as well
// until it has caught up: a logout from the future is not ignored, for that could be a session that lives.
//
// Failure: client.ErrLogoutToken with reason jti for a token that was used before; ErrStore if no more logouts can be
// remembered. Nothing is changed then.
func (m *Manager) EndByLogoutToken(ctx context.Context, c *client.Client, t *client.LogoutToken) error {
	return m.endByLogoutToken(c, t)
}

func (m *Manager) endByLogoutToken(srv server, t *client.LogoutToken) error {
	now := m.now()
	keep := now.Add(m.shared.cfg.AbsoluteTimeout + afterwards)
	var who []logoutKey
	switch {
	case t.SID != "" && t.Subject != "":
		who = []logoutKey{keyOf(bySID, t.Issuer, t.SID), keyOf(bySubjectAlone, t.Issuer, t.Subject)}
	case t.SID != "":
		who = []logoutKey{keyOf(bySID, t.Issuer, t.SID)}
	default:
		who = []logoutKey{keyOf(bySubject, t.Issuer, t.Subject)}
	}
	l := logout{arrived: t.ReceivedAt.UnixMilli(), srv: srv}
	return m.shared.ledger.logouts.add(keyOf(byToken, t.Issuer, t.ID), t.ReplayableUntil, who, l, now, keep)
}

// checkLogout returns ErrSessionEnded if a server has ended the session. The first time it says so and gives the tokens
// back; with unknown, which says that nobody else has these tokens, it gives them back in any case.
func (m *Manager) checkLogout(ctx context.Context, rec *record, unknown bool) error {
	l, ended := m.shared.ledger.logouts.find(rec)
	if !ended {
		return nil
	}
	newest, was := m.remember(ctx, rec, endedByServer)
	if was {
		m.report(ctx, client.EventSessionEnded, rec, endedByServer, nil)
	}
	last := Session{rec: *rec}
	if newest != nil && newest.tokenGeneration > rec.tokenGeneration {
		last.rec.tokens = *newest
	}
	// OpenID Connect Back-Channel Logout 1.0 §2.7. The request does not wait for it.
	// Another client of the same issuer cannot revoke these tokens, and must not see them.
	if (was || unknown) && !last.HasScope("offline_access") && l.srv.ClientID() == rec.clientID {
		go m.revoke(ctx, l.srv, last.Tokens())
	}
	return fail(ErrSessionEnded, endedByServer)
}

// logouts are what servers have told of. They are read with every request, so that costs one atomic load for a
// session that is younger than the last logout, and two look-ups for the others.
type logouts struct {
	last atomic.Int64 // when the latest arrived, in milliseconds; 0: none yet
	mu   sync.Mutex   // of add
	used *expiring[logoutKey, struct{}]
	all  *expiring[logoutKey, logout]
}

// logout is when it arrived, in milliseconds since 1970, and from whom.
type logout struct {
	arrived int64
	srv     server
}

// logoutKey is a hash: names are of any length, and a dump of it shows nobody.
type logoutKey [sha256.Size]byte

// What a key names at its issuer.
const (
	byToken        = "jti"
	bySID          = "sid"
	bySubject      = "sub"
	bySubjectAlone = "sub without sid"
)

// keyOf hashes texts that cannot run into each other.
func keyOf(kind, issuer, name string) logoutKey {
	b := make([]byte, 0, 256)
	return sha256.Sum256(append(appendString(appendString(b, kind), issuer), name...))
}

func newLogouts(limit int) *logouts {
	return &logouts{used: newExpiring[logoutKey, struct{}](limit), all: newExpiring[logoutKey, logout](limit)}
}

// add remembers a logout of each of who until keep, and its token until used. It is all or nothing.
func (l *logouts) add(token logoutKey, used time.Time, who []logoutKey, what logout, now, keep time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.all.room(len(who), now) { // update would make room by forgetting a logout
		return storeFull()
	}
	switch added, full := l.used.add(token, struct{}{}, now, used); {
	case full:
		return storeFull()
	case !added: // ATK-O04
		return client.NewError(client.ErrLogoutToken, "jti", nil)
	}
	for _, key := range who {
		l.all.update(key, now, func(old logout, deadline time.Time) (logout, time.Time) {
			if old.arrived > what.arrived {
				return old, deadline
			}
			return what, keep
		})
	}
	for { // last of all: who sees it finds the rest
		last := l.last.Load()
		if last >= what.arrived || l.last.CompareAndSwap(last, what.arrived) {
			return nil
		}
	}
}

// find returns the logout that has ended a session, if there is one.
func (l *logouts) find(rec *record) (logout, bool) {
	if rec.obtained > l.last.Load() {
		return logout{}, false
	}
	now := time.Time{} // what is there counts: it was swept when it ended, or concerns no session any more
	second := bySubjectAlone
	if rec.sid != "" {
		if found, ok := l.all.get(keyOf(bySID, rec.issuer, rec.sid), now); ok && rec.obtained <= found.arrived {
			return found, true
		}
		second = ""
	}
	for _, kind := range [...]string{bySubject, second} {
		if kind == "" || rec.subject == "" {
			continue
		}
		if found, ok := l.all.get(keyOf(kind, rec.issuer, rec.subject), now); ok && rec.obtained <= found.arrived {
			return found, true
		}
	}
	return logout{}, false
}
