package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
)

// crashes are the steps of a refresh at which its process can end, as what arranges it.
var crashes = []struct {
	name    string
	arrange func(b *bed)
	sent    int  // how many calls the server has seen of it
	kept    bool // the result is in the store
}{
	{"before sending", func(b *bed) { b.wire.set(nil, told(1, func(err error) error { b.die(); return err })) }, 0, false},
	{"after sending", func(b *bed) { b.as.reply = func(int) error { b.die(); return nil } }, 1, false},
	{"after the answer", func(b *bed) { b.wire.set(nthSwap(2, func() error { b.die(); return nil }), nil) }, 1, false},
	{"before the answer to the write", func(b *bed) { b.wire.set(nil, told(2, func(err error) error { b.die(); return err })) }, 1, true},
}

// crash lets the process end at a step of a refresh that is due.
func crash(t *testing.T, b *bed, br *browser, arrange func(*bed), sent int) {
	t.Helper()
	before := b.as.count()
	arrange(b)
	if a, told := <-b.askAside(br, time.Second); told && a.err == nil && a.s.TokenGeneration() > 1 {
		t.Fatalf("it lived: %v", a.err)
	}
	synctest.Wait()
	if !b.wire.dead.Load() || b.as.count() != before+sent {
		t.Fatalf("dead: %v, %d calls", b.wire.dead.Load(), b.as.count())
	}
	b.as.then(nil)
}

func eachCrash(t *testing.T, n int, f func(t *testing.T, all []*bed, arrange func(*bed), sent int, kept bool)) {
	for _, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			replicas(t, n, func(t *testing.T, all []*bed) { f(t, all, c.arrange, c.sent, c.kept) })
		})
	}
}

// token is what the n-th call brings.
func token(n int) string { return "access-" + itoa(n+1) }

// R5, R1, ATK-F12: the holder ends while the access token is alive. It is served until it is dead; then the refresh token is sent
// once more, and once only.
func TestR5CrashWhileAlive(t *testing.T) {
	eachCrash(t, 2, func(t *testing.T, all []*bed, arrange func(*bed), sent int, kept bool) {
		br, b := newBrowser(t), all[1]
		all[0].login(br, "alice")
		time.Sleep(time.Hour - 55*time.Second)
		crash(t, all[0], br, arrange, sent)
		if kept {
			b.mustFresh(br, token(sent), sent)
			return
		}
		for range 4 {
			b.mustFresh(br, "access-1", sent)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(40 * time.Second)
		b.ask(br, time.Minute).wantToken(t, token(sent+1))
		if b.as.count() != sent+1 || b.said(EventRefreshInDoubt, "interrupted") != 1 {
			t.Fatalf("%d calls, said %v", b.as.count(), b.events.kinds())
		}
		time.Sleep(time.Minute)
		b.mustFresh(br, token(sent+1), sent+1)
	})
}

// R5: the holder ends when the access token is dead already.
func TestR5CrashWhileDead(t *testing.T) {
	eachCrash(t, 2, func(t *testing.T, all []*bed, arrange func(*bed), sent int, kept bool) {
		br, b := newBrowser(t), all[1]
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		crash(t, all[0], br, arrange, sent)
		if !kept {
			sent++
		}
		b.ask(br, time.Minute).wantToken(t, token(sent))
		if b.as.count() != sent {
			t.Fatalf("%d calls", b.as.count())
		}
	})
}

// R1: two processes end in it, and the third sends nothing: only a login helps, and the session is not ended for it.
func TestR1TwoCrashes(t *testing.T) {
	eachCrash(t, 3, func(t *testing.T, all []*bed, arrange func(*bed), sent int, kept bool) {
		if kept {
			return
		}
		br, b := newBrowser(t), all[2]
		all[0].login(br, "alice")
		time.Sleep(time.Hour)
		crash(t, all[0], br, arrange, sent)
		arrange(all[1])
		<-all[1].askAside(br, 10*time.Second)
		if !all[1].wire.dead.Load() || b.as.count() != 2*sent {
			t.Fatalf("dead: %v, %d calls", all[1].wire.dead.Load(), b.as.count())
		}
		b.as.then(nil)
		for i := range 3 {
			var e *client.Error
			a := b.ask(br, time.Minute)
			if !errors.As(a.err, &e) || e.Code != client.ErrRefreshInDoubt || e.Action != client.ActionLogin || e.Outcome != client.Rejected {
				t.Fatal(a.err)
			}
			if b.as.count() != 2*sent || b.said(EventGrantLost, "") != i+1 {
				t.Fatalf("%d calls, said %v", b.as.count(), b.events.kinds())
			}
			time.Sleep(time.Hour)
		}
		if b.load(br).Subject() != "alice" {
			t.Fatal("logged out")
		}
	})
}

// R5: where the server takes a rotated token for a while yet, it is sent again as soon as the lease is free.
func TestR5CrashWithGrace(t *testing.T) {
	eachCrash(t, 2, func(t *testing.T, all []*bed, arrange func(*bed), sent int, kept bool) {
		br, b := newBrowser(t), all[1]
		b.as.rotation = client.Rotation{Grace: 30 * time.Second}
		all[0].login(br, "alice")
		time.Sleep(time.Hour - 55*time.Second)
		crash(t, all[0], br, arrange, sent)
		if !kept {
			sent++
		}
		_ = b.ask(br, time.Minute)
		time.Sleep(leaseTime + time.Second)
		b.mustFresh(br, token(sent), sent)
	})
}

// The grace is counted from when the token was sent, not from when that was found to have failed.
func TestGraceIsCountedFromTheSending(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.as.rotation = client.Rotation{Grace: 20 * time.Second}
		b.loginFor(br, "alice", time.Hour)
		b.as.reply = func(int) error {
			time.Sleep(25 * time.Second)
			return client.NewError(client.ErrRefreshInDoubt, "", nil)
		}
		time.Sleep(time.Hour - 59*time.Second)
		<-b.askAside(br, time.Second)
		time.Sleep(24 * time.Second)
		b.as.then(nil)
		for range 3 {
			time.Sleep(3 * time.Second)
			b.mustFresh(br, "access-1", 1)
		}
		time.Sleep(30 * time.Second)
		b.ask(br, time.Minute).wantToken(t, "access-3") // it is dead: the one that is left
	})
}

// Failures in which nothing was spent do not count towards the grace.
func TestGraceIsNotUsedUpByAnOutage(t *testing.T) {
	arrangements(t, func(t *testing.T, b *bed) {
		br := newBrowser(t)
		b.as.rotation = client.Rotation{Grace: 10 * time.Second}
		b.loginFor(br, "alice", time.Hour)
		b.as.fail(client.NewError(client.ErrTransport, "", nil))
		time.Sleep(time.Hour - 59*time.Second)
		b.served(br, "access-1", 1)
		time.Sleep(15 * time.Second)
		b.as.fail(client.NewError(client.ErrRefreshInDoubt, "", nil))
		b.served(br, "access-1", 2)
		b.as.fail(nil)
		time.Sleep(3 * time.Second)
		_ = b.ask(br, time.Minute)
		time.Sleep(time.Second)
		b.mustFresh(br, "access-4", 3) // and not only when the access token is dead
	})
}

// Where a refresh token may be used again, no number of crashes uses it up.
func TestR5CrashesWithReusable(t *testing.T) {
	replicas(t, 4, func(t *testing.T, all []*bed) {
		br, last := newBrowser(t), all[3]
		last.as.rotation = client.Rotation{Reusable: true}
		last.login(br, "alice")
		time.Sleep(time.Hour)
		for i, b := range all[:3] {
			b.as.reply = func(int) error { b.die(); return nil }
			<-b.askAside(br, 10*time.Second)
			if !b.wire.dead.Load() || b.as.count() != i+1 {
				t.Fatalf("dead: %v, %d calls", b.wire.dead.Load(), b.as.count())
			}
		}
		last.as.then(nil)
		last.ask(br, time.Minute).wantToken(t, "access-5")
	})
}

// A resource server refuses a token that looks alive, and a process ended while it replaced it: one more try, at once.
func TestR5CrashOfARenewal(t *testing.T) {
	replicas(t, 2, func(t *testing.T, all []*bed) {
		br := newBrowser(t)
		all[0].login(br, "alice")
		renew := func(b *bed, wait time.Duration) (*Session, error) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			return b.fresh(header{}, br.request().WithContext(ctx), b.server(), b.load(br), true)
		}
		all[0].as.reply = func(int) error { all[0].die(); return nil }
		if _, err := renew(all[0], time.Second); !errors.Is(err, client.ErrTimeout) {
			t.Fatal(err)
		}
		synctest.Wait()
		all[1].as.then(nil)
		if s, err := renew(all[1], time.Minute); err != nil || string(s.AccessToken()) != "access-3" {
			t.Fatal(err)
		}
	})
}
