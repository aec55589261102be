// Package population is many users of one application, logged in.
package population

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/internal/benchmarks/logins"
	"github.com/sallyport/sallyport/internal/benchmarks/measure"
	"github.com/sallyport/sallyport/internal/benchmarks/sessions"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// Workers is how many requests are under way at a time.
const Workers = 16

// idle is so long that no request here moves the idle deadline: in an application, each tenth of it one does.
const idle = 12 * time.Hour

// Population is the users' browsers and their application.
type Population struct {
	app               *logins.Application
	reads, refreshing http.Handler
	cookies           []atomic.Value // the Cookie header of each browser
	order             []int          // whose turn it is: not as they were made, for those are neighbours in a store
	next              int
}

// New logs n users in, each with tokens, a subject and a sid of its own, at an authorization server of package logins. cfg says where
// the sessions live.
func New(issuer string, cfg session.Config, n int) (*Population, error) {
	p := &Population{cookies: make([]atomic.Value, n), order: rand.New(rand.NewPCG(5, 6)).Perm(n)}
	cfg.Keys = [][]byte{session.GenerateKey()}
	cfg.IdleTimeout, cfg.AbsoluteTimeout = idle, idle
	var err error
	if p.app, err = logins.NewApplication(issuer, client.Config{}, cfg); err != nil {
		return nil, err
	}
	hello := []byte("hello\n")
	p.reads = p.app.Auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(hello) }))
	p.refreshing = p.app.Auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, _ := middleware.FromContext(r.Context())
		if s, err := p.app.Auth.Refresh(w, r); err != nil || s.AccessToken() == before.AccessToken() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(hello)
	}))
	return p, p.each(n, func(i int, w *sessions.Sink) error {
		t, err := sessions.TokensOf(i)
		if err != nil {
			return err
		}
		if _, err := p.app.Manager.Create(w, sessions.NewRequest(""), p.app.Client, nil, t); err != nil {
			return err
		}
		p.cookies[i].Store(sessions.CookieHeader(w.Header()))
		return nil
	})
}

// Len is the number of users.
func (p *Population) Len() int { return len(p.cookies) }

// each calls f for the next n users, several at a time, in turn.
func (p *Population) each(n int, f func(i int, w *sessions.Sink) error) error {
	for n > 0 {
		if p.next == len(p.cookies) {
			p.next = 0
		}
		part := min(n, len(p.cookies)-p.next)
		var at atomic.Int64
		at.Store(int64(p.next))
		err := measure.Concurrently(Workers, part, func(_, n int) error {
			w := sessions.NewSink()
			for range n {
				w.Reset()
				if err := f(p.order[at.Add(1)-1], w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.next += part
		n -= part
	}
	return nil
}

// Refresh sends a request of each of the next n users that gets new tokens, as if a resource server had refused the old
// ones: the same transaction as for those that have expired, without a clock that would have to be moved for that.
func (p *Population) Refresh(n int) error {
	return p.each(n, func(i int, w *sessions.Sink) error { return p.request(p.refreshing, i, w) })
}

// Request sends a request of the first n users whose turn it was, one after the other.
func (p *Population) Request(n int) error {
	for _, i := range p.order[:n] {
		if err := p.request(p.reads, i, sessions.NewSink()); err != nil {
			return err
		}
	}
	return nil
}

func (p *Population) request(h http.Handler, i int, w *sessions.Sink) error {
	h.ServeHTTP(w, sessions.NewRequest(p.cookies[i].Load().(string)))
	if !w.LetIn() {
		return fmt.Errorf("a request was refused with status %d", w.Status)
	}
	if cookie := sessions.CookieHeader(w.Header()); cookie != "" {
		p.cookies[i].Store(cookie)
	}
	return nil
}

// RefreshAll refreshes all.
func (p *Population) RefreshAll() error { return p.Refresh(len(p.cookies)) }

// Logout logs all users out.
func (p *Population) Logout() error {
	if err := p.each(len(p.cookies), p.logout); err != nil {
		return err
	}
	if !p.Gone() {
		return errors.New("a session lives on after its logout")
	}
	return nil
}

// LogoutFirst logs the first user out.
func (p *Population) LogoutFirst() error { return p.logout(p.order[0], sessions.NewSink()) }

func (p *Population) logout(i int, w *sessions.Sink) error {
	r := sessions.NewRequest(p.cookies[i].Load().(string))
	r.Method, r.URL.Path = http.MethodPost, "/auth/logout"
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	p.app.Auth.ServeHTTP(w, r)
	taken := strings.HasPrefix(w.Header().Get("Set-Cookie"), "__Host-sallyport=;")
	if w.Status >= http.StatusBadRequest || !taken {
		return fmt.Errorf("a logout was refused with status %d", w.Status)
	}
	return nil
}

// Gone reports whether nobody lets the first user in any more.
func (p *Population) Gone() bool {
	w := sessions.NewSink()
	p.reads.ServeHTTP(w, sessions.NewRequest(p.cookies[p.order[0]].Load().(string)))
	return !w.LetIn()
}
