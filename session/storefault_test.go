package session

import (
	"bytes"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// blob is what somebody else's release might have sealed.
type blob []byte

func (b *blob) AppendBinary(to []byte) ([]byte, error) { return append(to, *b...), nil }

// plant writes a value under a key of the shared store, whatever is there.
func (b *bed) plant(key storeKey, value []byte, ttl time.Duration) {
	b.t.Helper()
	_, version, _ := b.wire.store.Get(b.t.Context(), string(key[:]))
	if _, err := b.wire.store.Swap(b.t.Context(), string(key[:]), version, value, ttl); err != nil {
		b.t.Fatal(err)
	}
}

// sealed is a value as the store would have it.
func (b *bed) sealed(key storeKey, v blob, deadline time.Time) []byte {
	b.t.Helper()
	value, err := b.shared.stored.SealRaw(string(key[:]), &v, deadline)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// found is what the store has under a key, as it is.
func (b *bed) found(key storeKey) []byte {
	value, version, _ := b.wire.store.Get(b.t.Context(), string(key[:]))
	return append(value, byte(version), byte(version>>8), byte(version>>16))
}

// everything tries all that can be done with a session, each of which must fail as want says and write nothing: neither to the
// browser nor to the store.
func (b *bed) everything(br *browser, s *Session, key storeKey, want func(*testing.T, error)) {
	b.t.Helper()
	before, calls := b.found(key), b.as.count()
	h := header{}
	_, err := b.Load(br.request())
	want(b.t, err)
	_, err = b.fresh(h, br.request(), b.server(), s, true)
	want(b.t, err)
	edited, err := s.With("colour", "blue")
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = b.Save(h, br.request(), edited)
	want(b.t, err)
	_, err = b.End(h, br.request(), s)
	want(b.t, err)
	time.Sleep(time.Minute)
	if h.wrote() || !bytes.Equal(b.found(key), before) || b.as.count() != calls {
		b.t.Fatalf("wrote to the browser: %v, to the store: %v; %d calls", h.wrote(), !bytes.Equal(b.found(key), before), b.as.count()-calls)
	}
}

// ATK-K17: what is under our key and not ours is no session and no logout, and nobody writes over it.
func TestStrangersBytes(t *testing.T) {
	for name, bytesOf := range map[string]func(b *bed, key, other storeKey, own []byte) []byte{
		"noise":     func(*bed, storeKey, storeKey, []byte) []byte { return bytes.Repeat([]byte{0xA5, 1}, 200) },
		"text":      func(*bed, storeKey, storeKey, []byte) []byte { return []byte(`{"user":"mallory"}`) },
		"nothing":   func(*bed, storeKey, storeKey, []byte) []byte { return nil },
		"cut":       func(_ *bed, _, _ storeKey, own []byte) []byte { return own[:len(own)-1] },
		"half":      func(_ *bed, _, _ storeKey, own []byte) []byte { return own[:len(own)/2] },
		"one bit":   func(_ *bed, _, _ storeKey, own []byte) []byte { own[len(own)/2] ^= 4; return own },
		"another's": func(b *bed, _, other storeKey, _ []byte) []byte { return b.found(other)[:len(b.found(other))-3] },
		"a later form": func(b *bed, key, _ storeKey, _ []byte) []byte {
			return b.sealed(key, blob{entryVersion + 1, 0}, later10())
		},
		"an old form": func(b *bed, key, _ storeKey, _ []byte) []byte {
			return b.sealed(key, blob{entryVersion - 1, 0}, later10())
		},
		"unknown flag": func(b *bed, key, _ storeKey, _ []byte) []byte {
			return b.sealed(key, blob{entryVersion, 2 * entryRecord}, later10())
		},
		"more at the end": func(b *bed, key, _ storeKey, _ []byte) []byte {
			return b.sealed(key, blob{entryVersion, entryDue, 7}, later10())
		},
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 1, func(t *testing.T, all []*bed) {
				b, br, otherBr := all[0], newBrowser(t), newBrowser(t)
				b.login(br, "alice")
				other := b.login(otherBr, "bob")
				b.refreshNow(br)
				b.refreshNow(otherBr)
				s := b.load(br)
				key := sessionKey(s.rec.id)
				own := b.found(key)
				b.plant(key, bytesOf(b, key, sessionKey(other.rec.id), own[:len(own)-3]), time.Hour)
				b.everything(br, s, key, func(t *testing.T, err error) { t.Helper(); wantStore(t, err, "corrupt") })
				if b.said(client.EventSessionEnded, "") != 0 || b.said(EventStoreFailed, "corrupt") == 0 {
					t.Fatalf("said %v", b.events.kinds())
				}
				b.load(otherBr)
			})
		})
	}
}

func later10() time.Time { return time.Now().Add(10 * time.Hour) }

// refreshNow renews the session, and the browser takes what comes.
func (b *bed) refreshNow(br *browser) (s *Session) {
	b.t.Helper()
	br.do(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if s, err = b.fresh(w, r, b.server(), b.load(br), true); err != nil {
			b.t.Fatal(err)
		}
	})
	return s
}

// The same, of what is used up and of rosters.
func TestStrangersBytesElsewhere(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		c, _ := testClientFor(t, b.clock.now)
		state := b.start(br, c, LoginOptions{})
		l, err := b.FindLogin(br.request(), state)
		if err != nil {
			t.Fatal(err)
		}
		key := newStoreKey(keyOnce, l.claim[:])
		b.plant(key, []byte("\x01stranger"), time.Hour)
		h := header{}
		_, err = b.FindLogin(br.request(), state)
		wantStore(t, err, "corrupt")
		wantStore(t, b.TakeLogin(h, br.request(), l, true), "corrupt")
		if h.wrote() {
			t.Fatal("the login is gone")
		}
		roster := b.names(keyRoster, bySID, testIssuer, "s1")[0]
		b.plant(roster, []byte("\x01stranger"), time.Hour)
		wantStore(t, b.loginAt(br, testIssuer, "alice", "s1", time.Now()), "corrupt")
		wantStore(t, b.endByLogoutToken(t.Context(), b.as, b.logoutToken("1", "", "s1")), "corrupt")
		if got := b.found(roster); string(got[:9]) != "\x01stranger" {
			t.Fatal("written over")
		}
	})
}

// ATK-F17: a store that was set back: to a stale read, or from a backup. The ticket tells.
func TestStoreSetBack(t *testing.T) {
	for name, back := range map[string]func(b *bed, key storeKey, value []byte, version int64){
		"a stale read": func(b *bed, key storeKey, value []byte, version int64) {
			b.wire.stale = map[string]versioned[storedRecord]{string(key[:]): {storedRecord{value}, version}}
		},
		"a backup": func(b *bed, key storeKey, value []byte, _ int64) { b.plant(key, value, 10*time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 1, func(t *testing.T, all []*bed) {
				b, br := all[0], newBrowser(t)
				s := b.login(br, "alice")
				key := sessionKey(s.rec.id)
				b.refreshNow(br)
				old, version, _ := b.wire.store.Get(t.Context(), string(key[:]))
				s = b.refreshNow(br)
				b.served(br, "access-3", 2)
				back(b, key, old, version)
				if b.shared.inStore {
					wantStale := func(t *testing.T, err error) { t.Helper(); wantStore(t, err, "stale") }
					before := b.found(key)
					_, err := b.Load(br.request())
					wantStale(t, err)
					h := header{}
					_, err = b.fresh(h, br.request(), b.server(), s, true)
					wantStale(t, err)
					_, err = b.Save(h, br.request(), s)
					wantStale(t, err)
					if b.as.count() != 2 || h.wrote() || !bytes.Equal(before, b.found(key)) {
						t.Fatalf("%d calls, wrote %v", b.as.count(), h.wrote())
					}
				} else {
					b.served(br, "access-3", 2) // the browser knows better
				}
				for _, spent := range []client.Secret{"refresh-1", "refresh-2"} {
					for _, sent := range b.as.sent[2:] {
						if sent == spent {
							t.Fatal("a spent token was sent")
						}
					}
				}
			})
		})
	}
}

// A store that keeps what has ended: its own deadline is in each record.
func TestStoreThatKeepsForEver(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		b.refreshNow(br)
		s := b.load(br)
		key := sessionKey(s.rec.id)
		e, _ := b.entry(s.rec.id)
		raw, _ := e.AppendBinary(nil)
		b.plant(key, b.sealed(key, raw, time.Now().Add(time.Second)), 10*time.Hour)
		b.load(br)
		time.Sleep(time.Second)
		if b.shared.inStore {
			before := b.found(key)
			_, err := b.Load(br.request())
			wantError(t, err, ErrSessionEnded, gone)
			_, err = b.fresh(header{}, br.request(), b.server(), s, true)
			wantError(t, err, ErrSessionEnded, gone)
			_, err = b.Save(header{}, br.request(), s)
			wantError(t, err, ErrSessionEnded, gone)
			if !bytes.Equal(before, b.found(key)) {
				t.Fatal("written over")
			}
		} else {
			// It says nothing any more, and is in nobody's way.
			b.served(br, "access-2", 1)
			b.refreshNow(br)
			b.served(br, "access-3", 2)
		}
	})
}

// A process whose clock is far ahead makes no other process take its sessions for gone.
func TestStoreFromTheFuture(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, ahead, br := all[0], all[1], newBrowser(t)
		b.login(br, "alice")
		s := b.refreshNow(br)
		ahead.clock.ahead = 10 * time.Minute
		if _, err := ahead.Save(header{}, br.request(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := ahead.endIn(br.clone()); err != nil {
			t.Fatal(err)
		}
		_, err := b.Load(br.request())
		wantStore(t, err, "clock")
		time.Sleep(10 * time.Minute)
		b.refuse(t, ErrSessionEnded, "logout", br.header())
	})
}

// ATK-K17: a store that does not answer, in each arrangement that has one: 503 for as long as that lasts, and then as before.
func TestStoreOutage(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  func(storeCall) error
		reason string
	}{
		"away":    {func(storeCall) error { return errAway }, "unavailable"},
		"hanging": {func(c storeCall) error { <-c.ctx.Done(); return c.ctx.Err() }, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 1, func(t *testing.T, all []*bed) {
				b, br := all[0], newBrowser(t)
				b.login(br, "alice")
				s := b.refreshNow(br)
				time.Sleep(2 * time.Minute)
				b.wire.set(tt.fault, nil)
				for range 3 {
					began := time.Now()
					b.everything(br, s, sessionKey(s.rec.id), func(t *testing.T, err error) { t.Helper(); wantStore(t, err, tt.reason) })
					if took := time.Since(began); took > time.Minute+5*storeTimeout {
						t.Fatalf("waited %v", took)
					}
				}
				h := header{}
				late := b.load2(s)
				late.rec.seen -= 7200
				if err := b.Touch(h, br.request(), late); err != nil || h.wrote() {
					t.Fatalf("a touch that cannot be: %v, wrote %v", err, h.wrote())
				}
				b.wire.set(nil, nil)
				b.served(br, "access-2", 1)
				b.refreshNow(br)
			})
		})
	}
}

// load2 is a copy of a session.
func (b *bed) load2(s *Session) *Session { next := *s; return &next }

// A full store: no login and no logout, which say so; and nobody is logged out.
func TestStoreFull(t *testing.T) {
	replicas(t, 1, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		b.login(br, "alice")
		s := b.load(br)
		full := func(c storeCall) error {
			if c.swap {
				return ErrFull
			}
			return nil
		}
		b.wire.set(full, nil)
		_, err := b.End(header{}, br.request(), s)
		wantStore(t, err, "full")
		_, err = b.fresh(header{}, br.request(), b.server(), s, true)
		wantStore(t, err, "full")
		if b.as.count() != 0 {
			t.Fatal("sent, and nothing would have been written")
		}
		other := newBrowser(t)
		other.do(func(w http.ResponseWriter, r *http.Request) {
			_, err := b.create(w, r, testIssuer, testClient, testTokens("bob", 1, time.Now().Add(time.Hour)))
			wantStore(t, err, "full")
		})
		if len(other.jar) != 0 {
			t.Fatal("a cookie of no session")
		}
		wantStore(t, b.endByLogoutToken(t.Context(), b.as, b.logoutToken("1", "", "s1")), "full")
		b.served(br, "access-1", 0)
		b.wire.set(nil, nil)
		synctest.Wait()
		time.Sleep(time.Second)
		b.refreshNow(br)
	})
}

// A store that takes its time with each call delays, and that is all.
func TestStoreSlow(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		for _, b := range all {
			b.wire.set(func(storeCall) error { time.Sleep(700 * time.Millisecond); return nil }, nil)
		}
		b.as.then(slow(5 * time.Second))
		first, second := b.askAside(br, time.Minute), all[1].askAside(br, time.Minute)
		(<-first).wantToken(t, "access-2")
		(<-second).wantToken(t, "access-2")
		if b.as.count() != 1 || b.Counters().LeaseLost+all[1].Counters().LeaseLost != 0 {
			t.Fatalf("%d calls", b.as.count())
		}
	})
}
