package session

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
)

// A request with the cookie from before a rotation, a moment after it and long after it, on the same process and on another:
// it gets the new tokens, nothing is sent, and the browser's cookie is brought up to date. (TriliumNext PR#10371: 40 ms.)
func TestNearMissOldCookie(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 40 * time.Millisecond, time.Second, 30 * time.Second, 20 * time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				br := newBrowser(t)
				all[0].login(br, "alice")
				time.Sleep(time.Hour)
				old := br.clone()
				all[0].mustFresh(br, "access-2", 1)
				time.Sleep(after)
				for i, b := range []*bed{all[0], all[1], all[0]} {
					late := old.clone()
					b.mustFresh(late, "access-2", 1)
					if i == 0 {
						continue
					}
					all[1-i%2].mustFresh(late, "access-2", 1)
				}
				all[0].sentAtMost(1)
			})
		})
	}
}

// The older Set-Cookie arrives last. (next-auth#8897)
func TestNearMissOlderCookieLast(t *testing.T) {
	for name, size := range map[string]int{"whole": 10, "split": 3600} {
		t.Run(name, func(t *testing.T) {
			replicas(t, 2, func(t *testing.T, all []*bed) {
				b, br := all[0], newBrowser(t)
				if _, err := b.loginWith(br, "alice", bulk(size)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				r := br.request()
				slowly := b.load2(b.load(br))
				slowly.read = time.Now().Add(2 * time.Hour).Unix()
				older, newer := header{}, header{}
				if err := b.Touch(older, r, slowly); err != nil || !older.wrote() {
					t.Fatal(err)
				}
				s, err := all[1].fresh(newer, r, all[1].server(), all[1].load(br), false)
				if err != nil || !newer.wrote() {
					t.Fatal(err)
				}
				br.take(newer)
				br.take(older)
				for _, b := range all {
					if again := b.mustFresh(br, "access-2", 1); again.rec.id != s.rec.id || again.TokenGeneration() != 2 {
						t.Fatal("another session")
					}
				}
				time.Sleep(time.Hour)
				b.mustFresh(br, "access-3", 2)
				all[0].sentAtMost(1)
			})
		})
	}
}

// ATK-K07: chunks of two generations, before and after a rotation, mixed in every way: an error or the newest, never tokens of before
// that would be sent again; and the session lives.
func TestNearMissMixedChunks(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		if b.shared.inStore {
			return // a ticket is never split
		}
		if _, err := b.loginWith(br, "alice", bulk(3600)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		old := br.clone()
		b.mustFresh(br, "access-2", 1)
		if len(old.names) != 2 || len(br.names) != 2 || old.names[0] == br.names[0] {
			t.Fatalf("%v, %v", old.names, br.names)
		}
		pieces := [4]struct{ name, value string }{
			{old.names[0], old.jar[old.names[0]]}, {old.names[1], old.jar[old.names[1]]},
			{br.names[0], br.jar[br.names[0]]}, {br.names[1], br.jar[br.names[1]]},
		}
		for swapped := range 2 {
			for set := range 1 << len(pieces) {
				var parts []string
				for i, p := range pieces {
					if set&(1<<i) != 0 {
						value := p.value
						if swapped == 1 { // the name of one generation, the content of the other
							value = pieces[(i+2)%4].value
						}
						parts = append(parts, p.name+"="+value)
					}
				}
				if parts == nil {
					continue
				}
				r := get([]string{strings.Join(parts, "; ")})
				s, err := all[set%2].freshen(header{}, r)
				switch {
				case err == nil && string(s.AccessToken()) != "access-2":
					t.Fatalf("set %04b: %q", set, s.AccessToken())
				case err != nil && !errors.Is(err, ErrCookie):
					t.Fatalf("set %04b: %v", set, err)
				case err != nil && swapped == 0 && set&0b1100 == 0b1100:
					t.Fatalf("set %04b: the newest is whole, and %v", set, err)
				}
			}
		}
		if b.as.count() != 1 {
			t.Fatalf("%d calls", b.as.count())
		}
		all[1].mustFresh(br, "access-2", 1)
	})
}

// ATK-F13, R5: tokens that a browser cannot hold, on one process; the old cookie comes to the other.
func TestOutgrownOnBoth(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		b, br := all[0], newBrowser(t)
		if b.shared.inStore {
			return
		}
		b.login(br, "alice")
		time.Sleep(time.Hour)
		b.as.next = func(tok *client.Tokens) { tok.AccessToken = client.Secret(strings.Repeat("!", 9000)) }
		a := b.ask(br, time.Minute)
		wantError(t, a.err, ErrSessionEnded, outgrown)
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, outgrown, br.header())
		}
		b.settled()
		if b.as.count() != 1 || len(b.as.revoked) != 1 || b.as.revoked[0] != "refresh-2" {
			t.Fatalf("%d calls, revoked %d", b.as.count(), len(b.as.revoked))
		}
	})
}

// ATK-K15, ATK-K10, ATK-K19: what one process ends, by a logout or by another login in the browser, is over in the other.
func TestEndedOnTheOther(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		first := br.clone()
		time.Sleep(time.Second)
		all[1].login(br, "bob")
		second := br.clone()
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, replaced, first.header())
			if b.load(br).Subject() != "bob" {
				t.Fatal("another user")
			}
		}
		br.do(func(w http.ResponseWriter, r *http.Request) { all[0].mustEnd(w, r, all[0].load(br)) })
		for _, b := range all {
			b.refuse(t, ErrSessionEnded, "logout", second.header())
			for _, dead := range []*browser{first, second} {
				if _, err := b.freshen(header{}, dead.request()); !errors.Is(err, ErrSessionEnded) {
					t.Fatal(err)
				}
			}
		}
	})
}
