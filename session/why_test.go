package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// "Why was this user logged out?" is answered by the log alone: one event, with the session's name, its generation and the reason.
func TestWhyLoggedOut(t *testing.T) {
	fail := func(b *bed, br *browser, err error) {
		b.as.fail(err)
		_ = b.ask(br, time.Minute)
	}
	for name, tt := range map[string]struct {
		kind, reason string
		do           func(all []*bed, br *browser) error
		also         string // another event that says more
	}{
		"logout": {client.EventSessionEnded, "logout", func(all []*bed, br *browser) error { return endings[0].end(all[1], br) }, ""},
		"replaced": {client.EventSessionEnded, replaced, func(all []*bed, br *browser) error {
			all[1].login(br.clone(), "bob")
			return nil
		}, ""},
		"grant revoked": {client.EventSessionEnded, "grant_revoked", func(all []*bed, br *browser) error {
			fail(all[1], br, errRevoked)
			return nil
		}, EventReuseSuspected},
		"another user's ID token": {client.EventSessionEnded, "id_token", func(all []*bed, br *browser) error {
			fail(all[1], br, client.NewError(client.ErrIDToken, "sub", nil))
			return nil
		}, client.EventRefreshFailed},
		"in doubt twice": {client.EventSessionEnded, endedInDoubt, func(all []*bed, br *browser) error {
			for range 2 {
				fail(all[1], br, client.NewError(client.ErrRefreshInDoubt, "", nil))
				time.Sleep(time.Minute)
			}
			_ = all[1].ask(br, time.Minute)
			return nil
		}, EventGrantLost},
		"back-channel, sid": {client.EventSessionEnded, endedByServer, func(all []*bed, br *browser) error { return endings[1].end(all[1], br) }, ""},
		"back-channel, sub": {client.EventSessionEnded, endedByServer, func(all []*bed, br *browser) error { return endings[2].end(all[1], br) }, ""},
		"subject":           {client.EventSessionEnded, subjectEnded, func(all []*bed, br *browser) error { return endings[3].end(all[1], br) }, ""},
		"every session": {client.EventSessionEnded, everySession, func(all []*bed, br *browser) error {
			defer func() {
				_, _ = all[1].Load(br.request())
			}()
			return all[1].EndEverySession(all[1].t.Context())
		}, ""},
		"the store lost it": {client.EventSessionEnded, gone, func(all []*bed, br *browser) error {
			key := sessionKey(all[1].load(br).rec.id)
			_, version, err := all[1].wire.store.Get(all[1].t.Context(), string(key[:]))
			if err == nil {
				_, err = all[1].wire.store.Swap(all[1].t.Context(), string(key[:]), version, nil, 0)
			}
			_, _ = all[1].Load(br.request())
			return err
		}, ""},
		"idle": {client.EventSessionEnded, "idle", func(all []*bed, br *browser) error {
			time.Sleep(2 * time.Hour)
			all[1].shared.cfg.IdleTimeout = time.Hour
			_, _ = all[1].Load(br.request())
			return nil
		}, ""},
		"absolute": {client.EventSessionEnded, "absolute", func(all []*bed, br *browser) error {
			all[1].shared.cfg.AbsoluteTimeout = time.Hour
			_, _ = all[1].Load(br.request())
			return nil
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				br := newBrowser(t)
				s := all[0].withSID(br)
				if name == "the store lost it" && !all[0].shared.inStore {
					return
				}
				if err := tt.do(all, br.clone()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				found, more := 0, 0
				for _, b := range all {
					for _, e := range b.events.all {
						if e.Kind == tt.also && e.Session == s.ID() {
							more++
						}
						if e.Kind != client.EventSessionEnded {
							continue
						}
						found++
						rosterOnly := !b.shared.inStore && (tt.reason == endedByServer || tt.reason == subjectEnded)
						if e.Kind != tt.kind || e.Reason != tt.reason || e.Session != s.ID() || e.Time.IsZero() || e.Generation != 1 && !rosterOnly {
							t.Errorf("%+v", e)
						}
					}
				}
				if found != 1 || tt.also != "" && more == 0 {
					t.Fatalf("told %d times, %s %d times", found, tt.also, more)
				}
			})
		})
	}
}

// What the counters say is what has happened, in each process.
func TestCountersOfBoth(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		b.as.then(slow(time.Second))
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		if a := all[1].ask(br, time.Minute); a.err != nil {
			t.Fatal(a.err)
		}
		<-first
		if got, want := b.Counters(), (Counters{Won: 1, Refreshed: 1}); got != want {
			t.Errorf("the winner: %+v", got)
		}
		if got, want := all[1].Counters(), (Counters{Adopted: 1}); got != want {
			t.Errorf("the loser: %+v", got)
		}
		for _, e := range []string{EventRefreshWaited, EventRefreshAdopted} {
			if all[1].said(e, "") != 1 || b.said(e, "") != 0 {
				t.Errorf("%s: %d times", e, all[1].said(e, ""))
			}
		}
	})
}
