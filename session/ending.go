package session

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/cookies"
)

// Why sessions end, beside the reasons of package client's events.
const (
	outgrown      = "size"
	replaced      = "replaced"
	gone          = "gone"
	endedByServer = "backchannel_logout"
	subjectEnded  = "subject_ended"
	everySession  = "every_session_ended"
	notBefore     = "not_before"
	tooMany       = "too_many"
	endedInDoubt  = "grant_lost"
)

// End ends s and expires the cookies of r; s may be nil, for a request whose session cannot be read. The end
// is remembered until the session's absolute deadline, so a copy of the cookie is worth nothing, and a refresh in flight, in whichever
// process, revokes what it gets. It returns the newest tokens, for revocation; nil without a session. Failure: ErrStore; the
// session may have ended or not, and nothing is written to w, so that the user can try again.
func (m *Manager) End(w http.ResponseWriter, r *http.Request, s *Session) (*client.Tokens, error) {
	var last *client.Tokens
	found := cookies.Find(r.Header["Cookie"], m.session.Name)
	if s != nil {
		newest, err := m.end(r.Context(), &s.rec, "logout")
		if err != nil {
			return nil, err
		}
		last = s.with(newest).Tokens()
	}
	for _, o := range m.carried(r, &found) {
		if s != nil && o.id == s.rec.id {
			continue
		}
		if _, err := m.end(r.Context(), o, "logout"); err != nil {
			return nil, err
		}
	}
	m.session.Expire(w.Header(), found)
	return last, nil
}

// Forget takes the session's cookies away from the browser, and nothing else: for a session that Load or Fresh
// has found to be over. Not for ErrSessionEnded with reason "replaced": the browser has the newer login's cookie, maybe under
// the same name.
func (m *Manager) Forget(w http.ResponseWriter, r *http.Request) {
	m.session.Expire(w.Header(), cookies.Find(r.Header["Cookie"], m.session.Name))
}

// end puts a tombstone where the session was, and says so once. It returns the newest tokens that the store had.
func (m *Manager) end(ctx context.Context, rec *record, reason string) (newest *tokens, err error) {
	newest, first, err := m.remember(ctx, rec, reason)
	if first {
		m.report(ctx, client.EventSessionEnded, rec, reason, nil)
	}
	return newest, err
}

// remember writes the tombstone. That a session was replaced outdoes an earlier reason.
func (m *Manager) remember(ctx context.Context, rec *record, reason string) (newest *tokens, first bool, err error) {
	key := sessionKey(rec.id)
	newest = &tokens{}
	keep := rec.absoluteDeadline(&m.shared.cfg)
	_, err = update(ctx, m.shared.entries, &key, nil, func(e *entry, _ int64) (time.Time, error) {
		first = e.ended == ""
		if !first {
			if reason != replaced || e.ended == replaced {
				return time.Time{}, nil
			}
			e.ended = replaced
		} else {
			newest = &tokens{}
			*newest = e.rec.tokens
			if e.rec.tokenGeneration != 0 && m.shared.inStore {
				keep = e.rec.absoluteDeadline(&m.shared.cfg)
			}
			*e = entry{ended: reason, keep: keep.Unix()}
		}
		return e.deadline(&m.shared.cfg, m.now(), keep, m.shared.inStore), nil
	})
	if err != nil {
		return newest, false, m.storeFailed(ctx, rec, err)
	}
	return newest, first, nil
}

// endMember ends a session of which a roster tells, and reports whether it lived. srv is whose logout it is, nil if it is none.
func (m *Manager) endMember(ctx context.Context, srv server, s *member, issuer, reason string) (first bool, err error) {
	key := newStoreKey(keySession, s.hash[:])
	var rec record
	_, err = update(ctx, m.shared.entries, &key, nil, func(e *entry, _ int64) (time.Time, error) {
		if first = e.ended == ""; !first {
			return time.Time{}, nil
		}
		rec = e.rec
		*e = entry{ended: reason, keep: s.absolute, due: e.rec.tokenGeneration == 0}
		return time.Unix(s.absolute, 0).Add(time.Minute), nil
	})
	if err != nil || !first {
		return false, err
	}
	event := client.Event{Kind: client.EventSessionEnded, Issuer: issuer, Session: m.fingerprintOf(s.hash), Generation: rec.tokenGeneration, Reason: reason}
	if srv != nil {
		event.ClientID = srv.ClientID()
	}
	m.Report(ctx, event)
	if rec.tokenGeneration == 0 {
		return true, nil
	}
	if m.shared.inStore {
		srv = m.shared.servers.of(&rec)
	} else if srv != nil {
		rec.clientID = srv.ClientID() // a hand-off does not say; the server will refuse what is not its client's
	}
	m.giveBack(ctx, srv, &Session{rec: rec}, reason)
	return true, nil
}

// endMembers ends those sessions, several at a time.
func (m *Manager) endMembers(ctx context.Context, srv server, all []member, issuer, reason string) (n int, err error) {
	const atOnce = 16
	var wg sync.WaitGroup
	var mu sync.Mutex
	room := make(chan struct{}, atOnce)
	for i := range all {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			first, failed := m.endMember(ctx, srv, &all[i], issuer, reason)
			mu.Lock()
			defer mu.Unlock()
			if first {
				n++
			}
			if failed != nil {
				err = failed
			}
		})
	}
	wg.Wait()
	if err != nil {
		err = m.storeFailed(ctx, nil, err)
	}
	return n, err
}

// clockSkew is how far the clock of another process may be ahead of ours.
const clockSkew = time.Minute

// logout is whom a logout names in one roster.
type logout struct {
	keys  []storeKey
	alone bool // only sessions without a sid
}

// logOut writes the moment of a logout into rosters and ends the sessions that they have of before.
func (m *Manager) logOut(ctx context.Context, srv server, who []logout, arrived int64, repeated bool, issuer, reason string) (n int, err error) {
	now := m.now()
	keep := now.Add(m.shared.cfg.AbsoluteTimeout + afterwards).Unix()
	for _, l := range who {
		for _, key := range l.keys {
			var concerned []member
			_, err := update(ctx, m.shared.rosters, &key, nil, func(r *roster, _ int64) (time.Time, error) {
				concerned = r.name(arrived, l.alone, repeated, now)
				r.keep, r.reason = max(r.keep, keep), reason
				return time.Unix(r.keep, 0).Add(afterwards), nil
			})
			if err != nil {
				return n, m.storeFailed(ctx, nil, err)
			}
			ended, err := m.endMembers(ctx, srv, concerned, issuer, reason)
			if n += ended; err != nil {
				return n, err
			}
		}
	}
	raise(&m.shared.lastLogout, arrived) // last of all: who sees it finds the rest
	return n, nil
}

// bySubjects returns the rosters of a subject.
func (m *Manager) bySubjects(issuer, subject string, alone bool) (who []logout) {
	for shard := range m.shards() {
		who = append(who, logout{m.subjectRosters(issuer, subject, shard), alone})
	}
	return who
}

// EndByLogoutToken ends what a logout token of c names (OpenID Connect Back-Channel Logout 1.0 §2.7): the session
// with its sid, or without a sid all sessions of its subject, of that issuer; with a sid also those sessions of the subject
// for which the server gave no sid. No such session is success.
//
// With a store that processes share, the sessions have ended in all of them when it returns. In one process the logout is
// remembered until the last session that it may concern would have ended, and each ends at its next request. A session is concerned
// if it was there when the logout arrived; for a login that is under way it counts when its tokens were asked for. A later login lives,
// with the same sid too.
// Event session.ended has reason "backchannel_logout". The tokens are revoked, by c, best effort, when they are
// at hand: with sessions in cookies, at the session's next request. Not if its scopes have offline_access: what was issued
// with that is meant to outlive the session (§2.7) and is left to the server.
//
// Moments are by the clocks of processes. A logout from the future ends logins as well until the clock has caught up: it is
// not ignored, for that could be a session that lives.
//
// Failure: client.ErrLogoutToken with reason jti for a token that was used before; ErrStore: the server may send it again, which
// goes on where this ended.
func (m *Manager) EndByLogoutToken(ctx context.Context, c *client.Client, t *client.LogoutToken) error {
	return m.endByLogoutToken(ctx, c, t)
}

func (m *Manager) endByLogoutToken(ctx context.Context, srv server, t *client.LogoutToken) error {
	m.shared.servers.remember(srv)
	arrived, repeated := t.ReceivedAt.UnixMilli(), false
	var uses []storeKey
	for i, key := range m.names(keyToken, byToken, t.Issuer, t.ID) {
		u, err := m.shared.once.useOnce(ctx, &key, arrived, t.ReplayableUntil)
		switch {
		case err != nil:
			return m.storeFailed(ctx, nil, err)
		case u.version == 0 && (u.value.done || u.value.arrived == 0): // ATK-O04
			return client.NewError(client.ErrLogoutToken, "jti", nil)
		case u.version == 0 && i == 0: // it was begun before, and not done
			arrived, repeated = min(arrived, u.value.arrived), true
		}
		uses = append(uses, key)
	}
	var who []logout
	if t.SID != "" {
		who = append(who, logout{m.names(keyRoster, bySID, t.Issuer, t.SID), false})
	}
	if t.Subject != "" {
		who = append(who, m.bySubjects(t.Issuer, t.Subject, t.SID != "")...)
	}
	if _, err := m.logOut(ctx, srv, who, arrived, repeated, t.Issuer, endedByServer); err != nil {
		return err
	}
	for _, key := range uses {
		_, err := update(ctx, m.shared.once, &key, nil, func(u *use, version int64) (time.Time, error) {
			u.done = true
			return t.ReplayableUntil, nil
		})
		if err != nil {
			return m.storeFailed(ctx, nil, err)
		}
	}
	return nil
}

// EndSubject ends all sessions that a user has at the issuer of c, for an incident: a stolen device, an account that is closed.
// With a store that processes share they have ended everywhere when it returns, and n is how many; in one process each ends at
// its next request, and n is 0. Later logins live. Event session.ended has reason "subject_ended". Tokens are revoked
// as by EndByLogoutToken, with offline_access too. Failure: ErrStore; some may have ended then, and calling it again ends the rest.
func (m *Manager) EndSubject(ctx context.Context, c *client.Client, subject string) (n int, err error) {
	return m.endSubject(ctx, c, subject)
}

func (m *Manager) endSubject(ctx context.Context, srv server, subject string) (int, error) {
	m.shared.servers.remember(srv)
	return m.logOut(ctx, srv, m.bySubjects(srv.Issuer(), subject, false), m.now().UnixMilli(), false, srv.Issuer(), subjectEnded)
}

// EndEverySession ends every session that there is, for an incident. Logins that are under way end as well, and with a store those of the
// next minute, as clocks differ; those begun later live.
// Each says so at its next request (session.ended, reason "every_session_ended"), and its tokens are revoked then.
// With a store that processes share, each process knows within five seconds. Without one it is for this
// process's life: set Config.NotBefore, too. Failure: ErrStore.
func (m *Manager) EndEverySession(ctx context.Context) error {
	at := m.now().UnixMilli()
	if m.shared.inShare {
		at = m.now().Add(clockSkew).UnixMilli() // rather a login too many than a session that lives
	}
	keep := m.now().Add(m.shared.cfg.AbsoluteTimeout + afterwards).Unix()
	for _, key := range m.names(keyRoster, everybody) {
		_, err := update(ctx, m.shared.rosters, &key, nil, func(l *roster, _ int64) (time.Time, error) {
			l.all, l.keep, l.reason = max(l.all, at), max(l.keep, keep), everySession
			return time.Unix(l.keep, 0), nil
		})
		if err != nil {
			return m.storeFailed(ctx, nil, err)
		}
	}
	raise(&m.shared.epoch.at, at)
	return nil
}
