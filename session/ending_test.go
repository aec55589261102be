package session

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// endings are the ways in which a session ends while somebody refreshes it.
var endings = []struct {
	name, reason string
	end          func(b *bed, br *browser) error
}{
	{"logout", "logout", func(b *bed, br *browser) error { _, err := b.endIn(br.clone()); return err }},
	{"logout token, sid", endedByServer, func(b *bed, _ *browser) error {
		return b.endByLogoutToken(b.t.Context(), b.server(), b.logoutToken("1", "", "s1"))
	}},
	{"logout token, sub", endedByServer, func(b *bed, _ *browser) error {
		return b.endByLogoutToken(b.t.Context(), b.server(), b.logoutToken("1", "alice", ""))
	}},
	{"subject", subjectEnded, func(b *bed, _ *browser) error {
		n, err := b.endSubject(b.t.Context(), b.server(), "alice")
		if err == nil && b.shared.inShare && n != 1 {
			b.t.Errorf("ended %d", n)
		}
		return err
	}},
	{"every session", everySession, func(b *bed, _ *browser) error { return b.EndEverySession(b.t.Context()) }},
}

// steps are when that happens, as what calls end in the middle of a refresh of b. called is whether the server was asked.
var steps = []struct {
	name   string
	place  func(b *bed, end func())
	called bool
}{
	{"before the lease", func(b *bed, end func()) { b.wire.set(nthSwap(1, func() error { end(); return nil }), nil) }, false},
	{"under the lease", func(b *bed, end func()) { b.wire.set(nil, told(1, func(err error) error { end(); return err })) }, true},
	{"while the server answers", func(b *bed, end func()) { b.as.reply = func(int) error { end(); return nil } }, true},
	{"after the answer", func(b *bed, end func()) { b.wire.set(nthSwap(2, func() error { end(); return nil }), nil) }, true},
}

// withSID gives the browser a session that a logout token can name, whose access token is dead.
func (b *bed) withSID(br *browser) *Session {
	b.t.Helper()
	if err := b.loginAt(br, testIssuer, "alice", "s1", time.Now()); err != nil {
		b.t.Fatal(err)
	}
	time.Sleep(time.Hour)
	return b.load(br)
}

// R3, ATK-F04: a logout on one process wins over a refresh in flight on another, at whatever step it comes: nothing is stored,
// and what comes is given back.
func TestR3LogoutWins(t *testing.T) {
	for _, e := range endings {
		for _, step := range steps {
			t.Run(e.name+" "+step.name, func(t *testing.T) {
				replicas(t, 2, func(t *testing.T, all []*bed) {
					b, br := all[0], newBrowser(t)
					s := b.withSID(br)
					all[1].load(br)
					all[1].shared.servers.remember(all[1].server())
					stolen := br.clone()
					step.place(b, func() {
						if err := e.end(all[1], br); err != nil {
							t.Error(err)
						}
					})
					a := b.ask(br, time.Minute)
					if e.reason == everySession {
						// That is known within epochAge, so it may be served until then, and not a moment longer.
						time.Sleep(epochAge)
						for _, b := range all {
							_, _ = b.Load(stolen.request())
							time.Sleep(time.Millisecond)
						}
					} else {
						wantError(t, a.err, ErrSessionEnded, e.reason)
						if a.h.wrote() {
							t.Fatal("a cookie for the dead")
						}
					}
					for _, b := range all {
						b.refuse(t, ErrSessionEnded, e.reason, stolen.header())
						b.settled()
					}
					stored, _ := b.entry(s.rec.id)
					if stored.ended != e.reason || stored.rec.tokenGeneration != 0 || stored.lease != (lease{}) {
						t.Fatalf("stored: %q, generation %d", stored.ended, stored.rec.tokenGeneration)
					}
					if e.reason == everySession {
						step.called = true // the process did not know yet
					}
					if called := b.as.count() == 1; called != step.called || called != slices.Contains(b.as.revoked, "refresh-2") {
						t.Fatalf("%d calls, revoked %d", b.as.count(), len(b.as.revoked))
					}
					if blocked := b.said(EventResurrectionBlocked, e.reason); e.reason != everySession && (blocked == 1) != step.called {
						t.Fatalf("said %v", b.events.kinds())
					}
					if ended := b.said(client.EventSessionEnded, e.reason) + all[1].said(client.EventSessionEnded, e.reason); ended != 1 {
						t.Fatalf("told %d times that it ended", ended)
					}
				})
			})
		}
	}
}

// R3 in every arrangement, in one process.
func TestR3LogoutWinsInOneProcess(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			arrangements(t, func(t *testing.T, b *bed) {
				br := newBrowser(t)
				s := b.withSID(br)
				stolen := br.clone()
				b.as.reply = func(int) error { return e.end(b, br) }
				wantError(t, b.ask(br, time.Minute).err, ErrSessionEnded, e.reason)
				b.refuse(t, ErrSessionEnded, e.reason, stolen.header())
				b.settled()
				stored, _ := b.entry(s.rec.id)
				if stored.rec.tokenGeneration != 0 || !slices.Contains(b.as.revoked, "refresh-2") || b.said(client.EventTokenRefreshed, "") != 0 {
					t.Fatalf("generation %d is stored, %d revoked", stored.rec.tokenGeneration, len(b.as.revoked))
				}
				if b.said(EventResurrectionBlocked, e.reason) != 1 || b.said(client.EventSessionEnded, e.reason) != 1 || b.Counters().ResurrectionBlocked != 1 {
					t.Fatalf("said %v", b.events.kinds())
				}
			})
		})
	}
}

// The other order: the refresh was first, and what is given back is what it brought, whichever cookie the logout came with.
func TestR3LogoutAfterRefresh(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				b, br := all[0], newBrowser(t)
				b.withSID(br)
				old := br.clone()
				b.mustFresh(br, "access-2", 1)
				if e.reason == "logout" {
					if last, err := all[1].endIn(old.clone()); err != nil || last.RefreshToken != "refresh-2" {
						t.Fatal(err)
					}
				} else if err := e.end(all[1], br); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2*epochAge + time.Second)
				for _, b := range all {
					b.refuse(t, ErrSessionEnded, e.reason, br.header())
					b.refuse(t, ErrSessionEnded, e.reason, old.header())
					b.settled()
				}
				if e.reason != "logout" && !slices.Equal(b.as.revoked, []client.Secret{"refresh-2"}) {
					t.Fatalf("revoked %d", len(b.as.revoked))
				}
			})
		})
	}
}

// A logout that comes while a request is under way which has read the session before a refresh: what it revokes is the newest.
func TestLogoutGivesTheNewest(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		old, r := all[1].load(br), br.request()
		b.mustFresh(br, "access-2", 1)
		if last := all[1].mustEnd(header{}, r, old); last.RefreshToken != "refresh-2" {
			t.Fatal("the tokens of before")
		}
	})
}

// Tokens of a session that its server has ended, at rest, are given back once, by whichever process has them first.
func TestTokensAreHandedIn(t *testing.T) {
	for _, e := range endings[1:4] {
		t.Run(e.name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				br := newBrowser(t)
				all[0].withSID(br)
				for _, b := range all {
					b.shared.servers.remember(b.server())
				}
				if err := e.end(all[1], br); err != nil {
					t.Fatal(err)
				}
				for i := range 6 {
					all[i%2].refuse(t, ErrSessionEnded, e.reason, br.header())
				}
				for _, b := range all {
					b.settled()
				}
				if !slices.Equal(all[0].as.revoked, []client.Secret{"refresh-1"}) {
					t.Fatalf("revoked %d", len(all[0].as.revoked))
				}
			})
		})
	}
}

// A later login lives, after each of them.
func TestLoginAfterEnding(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				br, next := newBrowser(t), newBrowser(t)
				all[0].withSID(br)
				if err := e.end(all[1], br); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if e.reason == everySession {
					time.Sleep(clockSkew)
				}
				if err := all[0].loginAt(next, testIssuer, "alice", "s1", time.Now()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * epochAge)
				for _, b := range all {
					b.load(next)
					_, err := b.Load(br.request())
					if e.reason != "logout" || err != nil { // the browser that logged out is a copy
						wantError(t, err, ErrSessionEnded, e.reason)
					}
				}
			})
		})
	}
}

// An operator sets NotBefore at the next start of one process.
func TestNotBefore(t *testing.T) {
	for _, inStore := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mem := NewMemory(MemoryOptions{})
			before := newReplica(t, Config{}, mem, inStore, nil)
			br, later := newBrowser(t), newBrowser(t)
			before.login(br, "alice")
			time.Sleep(time.Hour)
			incident := time.Now()
			before.login(later, "bob")
			after := newReplica(t, Config{NotBefore: incident}, mem, inStore, before.as)
			// One process has it already, and the other refreshes: what that brings is of no use.
			before.mustFresh(br, "access-2", 1)
			after.refuse(t, ErrSessionEnded, notBefore, br.header())
			before.refuse(t, ErrSessionEnded, notBefore, br.header())
			after.load(later)
			h := header{}
			old := testTokens("carol", 1, time.Now().Add(time.Hour))
			old.ObtainedAt = incident.Add(-time.Second)
			if _, err := after.create(h, get(nil), testIssuer, testClient, old); !errors.Is(err, ErrSessionEnded) || h.wrote() {
				t.Fatal(err)
			}
			after.settled()
			before.settled()
		})
	}
}

// What was issued with offline_access is meant to outlive the session: a logout by the server leaves it alone. Not what comes
// for a session that has ended: nobody has it.
func TestOfflineAccessOutlivesTheLogout(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		br.do(func(w http.ResponseWriter, r *http.Request) {
			tok := testTokens("alice", 1, time.Now().Add(time.Hour))
			tok.Scopes = []string{"openid", "offline_access"}
			if _, err := b.create(w, r, testIssuer, testClient, tok); err != nil {
				t.Fatal(err)
			}
		})
		if err := endings[2].end(all[1], br); err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, endedByServer, br.header())
			b.settled()
		}
		if len(b.as.revoked) != 0 {
			t.Fatal("revoked")
		}
	})
}
