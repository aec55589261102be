package session

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// nthOf is nthSwap for keys of another kind.
func nthOf(kind byte, n int, f func() error) func(storeCall) error {
	seen := 0
	return func(c storeCall) error {
		if c.swap && c.key[0] == kind {
			if seen++; seen == n {
				return f()
			}
		}
		return nil
	}
}

// ATK-O19: a logout token that overtakes a login, at each write of it. A roster knows of a session before the session is there, so
// none is missed: either nothing is made, or what is made has ended.
func TestLogoutTokenDuringLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		kind byte
		n    int
	}{
		"before the first roster":  {keyRoster, 1},
		"before the second roster": {keyRoster, 2},
		"before the session":       {keySession, 1},
	} {
		for _, who := range []struct{ name, subject, sid string }{{"sid", "", "s1"}, {"sub", "alice", ""}, {"both", "alice", "s1"}} {
			t.Run(name+" "+who.name, func(t *testing.T) {
				replicas(t, 2, func(t *testing.T, all []*bed) {
					b, br := all[0], newBrowser(t)
					came := false
					b.wire.set(nthOf(tt.kind, tt.n, func() error {
						came = true
						return all[1].endByLogoutToken(t.Context(), all[1].server(), all[1].logoutToken("1", who.subject, who.sid))
					}), nil)
					err := b.loginAt(br, testIssuer, "alice", "s1", time.Now())
					switch {
					case !came && !b.shared.inStore && tt.kind == keySession:
						return // there is no such write
					case !came:
						t.Fatal("no such write")
					case err != nil:
						wantError(t, err, ErrSessionEnded, endedByServer)
						if len(br.jar) != 0 {
							t.Fatal("a cookie of no session")
						}
					default:
						for _, b := range all {
							b.refuse(t, ErrSessionEnded, endedByServer, br.header())
						}
					}
				})
			})
		}
	}
}

// ATK-O14: a subject has sessions on both processes. All end at once; the same subject of another issuer, and another subject, live.
func TestSubjectOnBoth(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		var mine, others []*browser
		login := func(b *bed, issuer, subject, sid string) *browser {
			br := newBrowser(t)
			if err := b.loginAt(br, issuer, subject, sid, time.Now()); err != nil {
				t.Fatal(err)
			}
			return br
		}
		for i := range 20 { // in all shards
			mine = append(mine, login(all[i%2], testIssuer, "alice", "s"+itoa(i%3)))
		}
		others = append(others, login(all[0], "https://as-b.example", "alice", "s1"), login(all[1], testIssuer, "alic", "s4"), login(all[1], testIssuer, "bob", ""))
		time.Sleep(time.Second)
		if n, err := all[1].endSubject(t.Context(), all[1].server(), "alice"); err != nil || n != 20 {
			t.Fatalf("%d, %v", n, err)
		}
		for i, br := range mine {
			all[i%2].refuse(t, ErrSessionEnded, subjectEnded, br.header())
		}
		for i, br := range others {
			all[i%2].load(br)
		}
	})
}

// A roster that is full ends the session that would end first, and says so.
func TestRosterOverflow(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, first := all[0], newBrowser(t)
		if err := b.loginAt(first, testIssuer, "alice", "s1", time.Now()); err != nil {
			t.Fatal(err)
		}
		s := b.load(first)
		time.Sleep(time.Second)
		key := b.names(keyRoster, bySID, testIssuer, "s1")[0]
		_, err := update(t.Context(), b.shared.rosters, &key, nil, func(l *roster, _ int64) (time.Time, error) {
			for i := len(l.members); i < maxMembers; i++ {
				l.members = append(l.members, member{hash: sha256.Sum256([]byte{byte(i), byte(i >> 8)}), obtained: 1, absolute: s.rec.absolute + int64(i), sid: true})
			}
			l.members[0], l.members[500] = l.members[500], l.members[0]
			return time.Unix(l.keep, 0).Add(afterwards), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		next := newBrowser(t)
		if err := all[1].loginAt(next, testIssuer, "alice", "s1", time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, tooMany, first.header())
			b.load(next)
		}
		var l roster
		if _, _, err := b.shared.rosters.get(t.Context(), &key, &l); err != nil || len(l.members) != maxMembers {
			t.Fatalf("%d members, %v", len(l.members), err)
		}
		if all[1].said(client.EventSessionEnded, tooMany) != 1 {
			t.Fatalf("said %v", all[1].events.kinds())
		}
	})
}

// A key is rotated one process after the other: last in the ring first, then in front. At no moment is a session out of the reach of
// another process, of a logout or of a used-up token, and a process that has only the new key finds what was written since.
func TestKeyRingRotationOverProcesses(t *testing.T) {
	k1, k2 := key(1), key(2)
	for _, inStore := range []bool{false, true} {
		for _, rings := range [][2][][]byte{{{k1}, {k1, k2}}, {{k1, k2}, {k2, k1}}, {{k2, k1}, {k2}}} {
			synctest.Test(t, func(t *testing.T) {
				mem := NewMemory(MemoryOptions{})
				a := newReplica(t, Config{Keys: rings[0]}, mem, inStore, nil)
				b := newReplica(t, Config{Keys: rings[1]}, mem, inStore, a.as)
				for i, pair := range [][2]*bed{{a, b}, {b, a}} {
					made, other := pair[0], pair[1]
					one, two := newBrowser(t), newBrowser(t)
					for _, br := range []*browser{one, two} {
						if err := made.loginAt(br, testIssuer, "alice"+itoa(i), "s"+itoa(i), time.Now()); err != nil {
							t.Fatal(err)
						}
					}
					s := other.load(one)
					if s.rec.id != made.load(one).rec.id {
						t.Fatal("another session")
					}
					made.refreshNow(one)
					if other.load(one).TokenGeneration() != 2 {
						t.Fatal("not handed off")
					}
					time.Sleep(time.Second)
					token := other.logoutToken("j"+itoa(i), "", "s"+itoa(i))
					if err := other.endByLogoutToken(t.Context(), other.as, token); err != nil {
						t.Fatal(err)
					}
					for _, br := range []*browser{one, two} {
						made.refuse(t, ErrSessionEnded, endedByServer, br.header())
						other.refuse(t, ErrSessionEnded, endedByServer, br.header())
					}
					wantError(t, made.endByLogoutToken(t.Context(), made.as, token), client.ErrLogoutToken, "jti")
				}
				a.settled()
				b.settled()
			})
		}
	}
}

// ATK-O04: a process ends between noting a logout token down and doing what it says. The server sends it again, and then it
// is done; after that it is a replay. Who logged in meanwhile stays.
func TestLogoutTokenInTwoPhases(t *testing.T) {
	for name, step := range map[string]func(b *bed){
		"before the roster":     func(b *bed) { b.wire.set(nthOf(keyRoster, 1, func() error { b.die(); return nil }), nil) },
		"before the sessions":   func(b *bed) { b.wire.set(nthOf(keySession, 1, func() error { b.die(); return nil }), nil) },
		"before it is noted":    func(b *bed) { b.wire.set(nthOf(keyToken, 2, func() error { b.die(); return nil }), nil) },
		"the store fails later": func(b *bed) { b.wire.set(nthOf(keyRoster, 1, func() error { return errAway }), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				b, br, next := all[0], newBrowser(t), newBrowser(t)
				if err := b.loginAt(br, testIssuer, "alice", "s1", time.Now()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				step(b)
				token := b.logoutToken("1", "alice", "s1")
				done := make(chan struct{})
				go func() {
					defer close(done)
					if err := b.endByLogoutToken(t.Context(), b.server(), token); err == nil {
						t.Error("it was done")
					}
				}()
				<-done
				synctest.Wait()
				time.Sleep(time.Second)
				if err := all[1].loginAt(next, testIssuer, "alice", "s1", time.Now()); err != nil {
					t.Fatal(err)
				}
				again := *token
				again.ReceivedAt = time.Now()
				if err := all[1].endByLogoutToken(t.Context(), all[1].server(), &again); err != nil {
					t.Fatal(err)
				}
				all[1].refuse(t, ErrSessionEnded, endedByServer, br.header())
				all[1].load(next)
				wantError(t, all[1].endByLogoutToken(t.Context(), all[1].server(), &again), client.ErrLogoutToken, "jti")
				all[1].load(next)
			})
		})
	}
}

// A login is used up once, of all processes that are asked at once.
func TestLoginIsTakenOnceOverProcesses(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		c, _ := testClientFor(t, time.Now)
		state := all[0].start(br, c, LoginOptions{})
		results := make(chan error, 20)
		for i := range cap(results) {
			go func() {
				b := all[i%2]
				l, err := b.FindLogin(br.request(), state)
				if err == nil {
					err = b.TakeLogin(header{}, br.request(), l, true)
				}
				results <- err
			}()
		}
		n := 0
		for range cap(results) {
			if err := <-results; err == nil {
				n++
			} else if !errors.Is(err, client.ErrStateReplayed) {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Fatalf("%d took it", n)
		}
		// An answer that was lost: it is not known whether it is used up, and the code is not sent.
		state = all[0].start(br, c, LoginOptions{})
		l, err := all[0].FindLogin(br.request(), state)
		if err != nil {
			t.Fatal(err)
		}
		all[0].wire.set(nil, func(c storeCall, err error) error {
			if c.swap {
				return errAway
			}
			return err
		})
		br.do(func(w http.ResponseWriter, r *http.Request) {
			wantStore(t, all[0].TakeLogin(w, r, l, true), "unavailable")
		})
		_, err = all[1].FindLogin(br.request(), state)
		wantError(t, err, client.ErrStateReplayed, "")
	})
}
