package session

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// save sets an attribute in a request of its own.
func (b *bed) save(br *browser, s *Session, name, value string) error {
	s, err := s.With(name, value)
	if err != nil {
		return err
	}
	_, err = b.Save(header{}, br.request(), s)
	return err
}

// Requests at the same time, on both processes, that each change another attribute keep all changes.
func TestSaveKeepsOthersAttributes(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		if !all[0].shared.inStore {
			return // in cookies they overwrite each other, as documented
		}
		br := newBrowser(t)
		s := all[0].login(br, "alice")
		for _, b := range all { // everybody reads before anybody writes
			b.wire.set(func(c storeCall) error { time.Sleep(10 * time.Millisecond); return nil }, nil)
		}
		var wg sync.WaitGroup
		for i := range maxAttributes {
			wg.Go(func() {
				if err := all[i%2].save(br, s, "a"+strconv.Itoa(i), strconv.Itoa(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		now := all[1].load(br)
		for i := range maxAttributes {
			if got := now.Get("a" + strconv.Itoa(i)); got != strconv.Itoa(i) {
				t.Errorf("attribute %d is %q", i, got)
			}
		}
		// What is taken away stays away, and of one attribute the last write counts.
		for _, value := range []string{"", "x", "y"} {
			if err := all[0].save(br, now, "a3", value); err != nil {
				t.Fatal(err)
			}
			if got := all[1].load(br).Get("a3"); got != value {
				t.Fatalf("%q, want %q", got, value)
			}
		}
	})
}

// Writes that are no refresh, between lease and result and again before each try of the result: the tokens are not dropped, nor
// what was written, nor the lease.
func TestMergeDuringRefresh(t *testing.T) {
	replicas(t, 3, func(t *testing.T, all []*bed) {
		b, br := dueBed(t, all)
		s := all[1].load(br)
		touch := all[1].load2(s)
		touch.read = time.Now().Add(time.Hour).Unix()
		b.as.reply = func(int) error {
			if err := all[1].save(br, s, "colour", "blue"); err != nil {
				t.Error(err)
			}
			if err := all[1].Touch(header{}, br.request(), touch); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * leaseTime)
			return nil
		}
		var tries atomic.Int64
		b.wire.set(func(c storeCall) error {
			if b.entryIn(c).rec.tokenGeneration == 2 {
				if n := tries.Add(1); n <= 5 {
					if err := all[1].save(br, s, "try", strconv.FormatInt(n, 10)); err != nil {
						t.Error(err)
					}
				}
			}
			return nil
		}, nil)
		first := b.askAside(br, time.Minute)
		synctest.Wait()
		third := all[2].askAside(br, time.Minute)
		(<-first).wantToken(t, "access-2")
		(<-third).wantToken(t, "access-2")
		now := all[2].load(br)
		if now.TokenGeneration() != 2 || b.as.count() != 1 {
			t.Fatalf("generation %d, %d calls", now.TokenGeneration(), b.as.count())
		}
		if b.shared.inStore && (now.Get("colour") != "blue" || now.Get("try") != "5" || tries.Load() != 6) {
			t.Fatalf("%q, %q after %d tries", now.Get("colour"), now.Get("try"), tries.Load())
		}
	})
}

// A slow request that saves what it has read before a refresh does not set the tokens back.
func TestSaveAfterRefresh(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.loginFor(br, "alice", time.Hour)
		slow := br.clone()
		s := b.load(slow)
		time.Sleep(time.Hour - time.Second)
		b.ask(br, time.Minute).wantToken(t, "access-2")
		s, err := s.With("colour", "blue")
		if err != nil {
			t.Fatal(err)
		}
		slow.do(func(w http.ResponseWriter, r *http.Request) {
			if s, err := b.Save(w, r, s); err != nil || s.TokenGeneration() != 2 {
				t.Fatalf("%v", err)
			}
		})
		b.served(slow, "access-2", 1)
		if b.load(slow).Get("colour") != "blue" {
			t.Fatal("not saved")
		}
	})
}
