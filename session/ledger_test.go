package session

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// How often a refresh token was sent is remembered, whatever cookies come by.
func TestSpentIsNotForgotten(t *testing.T) {
	b := longBed(t)
	br := newBrowser(t)
	b.login(br, "alice")
	b.clock.add(59*time.Minute + 30*time.Second)
	r := br.request()
	first := b.load(br)
	second, err := b.fresh(header{}, r, b.as, first, false) // as an API client does: the browser does not see the cookie
	if err != nil {
		t.Fatal(err)
	}
	b.as.err = client.NewError(client.ErrRefreshInDoubt, "", nil)
	try := func() {
		for range 3 {
			b.clock.add(61 * time.Minute)
			_, _ = b.fresh(header{}, r, b.as, second, false)
		}
	}
	try()
	br.do(func(w http.ResponseWriter, r *http.Request) {
		if err := b.Touch(w, r, b.load(br)); err != nil { // now it does
			t.Fatal(err)
		}
	})
	b.load(br) // and shows it
	b.clock.add(overtaking + time.Minute)
	for range 5 * ledgerShards { // other sessions' entries sweep the shards
		other := b.login(newBrowser(t), "bob")
		b.end(r.Context(), &other.rec, "logout")
	}
	second = b.load(br)
	try()
	sent := 0
	for _, s := range b.as.sent {
		if s == "refresh-2" {
			sent++
		}
	}
	if sent != maxSends {
		t.Fatalf("the refresh token was sent %d times", sent)
	}
}

// shrink gives the ledger little room.
func (b *bed) shrink(alive, ended int) {
	for i := range b.shared.ledger.shards {
		b.shared.ledger.shards[i].alive.max, b.shared.ledger.shards[i].ended.max = alive, ended
	}
}

func TestFullLedgerKeepsTheEnded(t *testing.T) {
	b := longBed(t)
	b.shrink(2, 4)
	victim := newBrowser(t)
	s := b.login(victim, "victim")
	stolen := victim.clone()
	victim.do(func(w http.ResponseWriter, r *http.Request) { b.End(w, r, s) })
	now := b.clock.now()
	later := now.Add(24 * time.Hour)
	for i := range 1000 { // sessions of others that live longer
		id := sessionID{s.rec.id[0], byte(i), byte(i >> 8), 1}
		b.shared.ledger.refreshed(id, now, later, &tokens{tokenGeneration: 2})
		b.shared.ledger.failedRefresh(id, now, later, &failure{})
	}
	b.refuse(t, ErrSessionEnded, "logout", stolen.header())
	if slices.Contains(b.events.kinds(), EventEndForgotten) {
		t.Fatal("an end was forgotten for the living")
	}
	for i := range 4 { // and when there is no help for it, the operator hears of it
		id := sessionID{s.rec.id[0], byte(i), 2}
		b.end(t.Context(), &record{id: id, created: later.Unix(), absolute: later.Unix()}, "logout")
	}
	var told []string
	for _, e := range b.events.all {
		if e.Kind == EventEndForgotten {
			told = append(told, e.Session)
		}
	}
	if !slices.Equal(told, []string{s.ID()}) {
		t.Fatalf("%q, want %s", told, s.ID())
	}
}

func TestEndKeepsItsReason(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	s := b.login(br, "alice")
	b.end(t.Context(), &s.rec, "grant_revoked")
	b.end(t.Context(), &s.rec, "logout")
	b.refuse(t, ErrSessionEnded, "grant_revoked", br.header())
	_, err := b.fresh(header{}, br.request(), b.as, s, false)
	wantError(t, err, ErrSessionEnded, "grant_revoked")
	old := br.clone()
	b.login(br, "alice")
	b.refuse(t, ErrSessionEnded, replaced, old.header()) // there is a newer one in this browser now
	if n := len(b.events.all); n != 3 {
		t.Fatalf("%d events", n)
	}
	if err := b.Touch(header{}, old.request(), &Session{rec: s.rec, m: b.Manager, stale: true}); !errors.Is(err, ErrSessionEnded) {
		t.Fatal(err)
	}
}
