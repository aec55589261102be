package session

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// Requests at the same time, all with one Cookie header, whose answers reach the browser in any order.
func TestParallelWritesShareTheirNames(t *testing.T) {
	for name, c := range map[string]struct {
		wait    time.Duration
		refresh bool
		save    bool
	}{
		"touched":                {wait: 20 * time.Minute},
		"refreshed":              {wait: 59*time.Minute + 30*time.Second, refresh: true},
		"saved without a change": {wait: time.Minute, save: true},
	} {
		t.Run(name, func(t *testing.T) {
			families(t, func(t *testing.T, b *bed) {
				b.shared.cfg.IdleTimeout = 3 * time.Hour
				br := newBrowser(t)
				if _, err := b.loginWith(br, "alice", bulk(3450)); err != nil {
					t.Fatal(err)
				}
				before := len(br.jar)
				if before < 2 {
					t.Fatal("not split")
				}
				b.clock.add(c.wait)
				var answers []header
				for range 40 {
					r := br.request()
					b.clock.add(time.Millisecond)
					s, err := b.Load(r)
					if err != nil {
						t.Fatal(err)
					}
					h := header{}
					if c.refresh {
						s, err = b.fresh(h, r, b.as, s, false)
					}
					if err == nil && c.save {
						if s, err = s.With("colour", s.Get("colour")); err == nil {
							s, err = b.Save(h, r, s)
						}
					}
					if err == nil {
						err = b.Touch(h, r, s)
					}
					if err != nil || !h.wrote() {
						t.Fatal(err, h.wrote())
					}
					answers = append(answers, h)
				}
				rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
				for _, h := range answers {
					br.take(h)
					b.load(br) // at no moment anything else
				}
				if len(br.jar) != before {
					t.Fatalf("%d cookies, were %d", len(br.jar), before)
				}
			})
		})
	}
}

// A refreshed cookie is above one that was only touched, whichever comes last, also for a process that remembers nothing.
func TestParallelRefreshAndTouch(t *testing.T) {
	for _, refreshedFirst := range []bool{true, false} {
		b := longBed(t)
		br := newBrowser(t)
		if _, err := b.loginWith(br, "alice", bulk(3600)); err != nil {
			t.Fatal(err)
		}
		b.clock.add(59*time.Minute + 30*time.Second)
		r := br.request()
		s := b.load(br)
		s.read = b.clock.now().Add(2 * time.Hour).Unix() // much later, by its own clock
		touched, refreshed := header{}, header{}
		if err := b.Touch(touched, r, s); err != nil || !touched.wrote() {
			t.Fatal(err)
		}
		if _, err := b.fresh(refreshed, r, b.as, s, false); err != nil {
			t.Fatal(err)
		}
		answers := []header{touched, refreshed}
		if refreshedFirst {
			answers = []header{refreshed, touched}
		}
		for _, h := range answers {
			br.take(h)
		}
		other := longBed(t)
		other.clock.t = b.clock.now()
		if s, err := other.Load(br.request()); err != nil || s.TokenGeneration() != 2 {
			t.Fatalf("refreshed first %v: %v", refreshedFirst, err)
		}
	}
}

func TestSaveWithAChangeHasItsOwnName(t *testing.T) {
	b := newBed(t, Config{})
	br := newBrowser(t)
	b.login(br, "alice")
	b.clock.add(time.Second)
	s, err := b.load(br).With("a", "1")
	if err != nil {
		t.Fatal(err)
	}
	s, err = b.Save(header{}, br.request(), s)
	if err != nil || s.rec.generation != uint64(b.clock.now().UnixMilli()) {
		t.Fatal(err, s.rec.generation)
	}
	again, err := b.Save(header{}, br.request(), s) // what was written counts from then on
	if err != nil || again.rec.generation != s.rec.generation+1 {
		t.Fatal(err)
	}
}

func TestLogoutOfManyChunks(t *testing.T) {
	// ATK-K06: whatever has piled up, a logout takes all of it away and finds the tokens.
	b := newBed(t, Config{})
	br := newBrowser(t)
	s, err := b.loginWith(br, "alice", bulk(3600))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		br.put(cookieName+"."+strconv.FormatUint(s.rec.generation-uint64(i)-1, 36)+".0", "2.x.y")
	}
	b.refuse(t, ErrCookie, "chunk", br.header())
	copied := br.clone()
	br.do(func(w http.ResponseWriter, r *http.Request) {
		s, err := b.LoadToEnd(r)
		if err != nil {
			t.Fatal(err)
		}
		if tok := b.mustEnd(w, r, s); tok == nil || tok.RefreshToken != "refresh-1" {
			t.Fatal("no tokens to revoke")
		}
	})
	if len(br.jar) != 0 {
		t.Fatalf("%d cookies are left", len(br.jar))
	}
	if _, err := b.LoadToEnd(copied.request()); err == nil {
		t.Fatal("not ended")
	}
	n := copied.names[0]
	if _, err := b.LoadToEnd(get([]string{copied.header() + "; " + n + "=" + copied.jar[n]})); err == nil {
		t.Fatal("a duplicate is read") // ATK-K01
	}
}
