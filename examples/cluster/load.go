package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

type counter struct{ n atomic.Int64 }

func (c *counter) add()     { c.n.Add(1) }
func (c *counter) get() int { return int(c.n.Load()) }

func withMissed(ctx context.Context, gone *bool) context.Context {
	return context.WithValue(ctx, missed{}, gone)
}

// load is the users: each logs in with a browser of its own and calls the API again and again.
type load struct {
	home   string
	server *authtest.Server
	users  []authtest.User
	pause  time.Duration
	at     int // calls at once
	done   sync.WaitGroup

	alive       atomic.Int64
	requests    counter
	unavailable counter // 502 and 503: nobody is logged out by them
	lost        counter // sessions that ended although nobody had logged out
	foreign     counter // answers for somebody else
	failed      counter // logins that did not work at the first try
}

func newLoad(home string, server *authtest.Server, users []authtest.User, pause time.Duration, parallel int) *load {
	return &load{home: home, server: server, users: users, pause: pause, at: parallel}
}

func (l *load) start(ctx context.Context) {
	for _, u := range l.users {
		l.done.Go(func() { l.live(ctx, u.Subject) })
	}
}

func (l *load) wait() { l.done.Wait() }

// live is one user's day.
func (l *load) live(ctx context.Context, subject string) {
	rest := func() bool {
		select {
		case <-time.After(l.pause/2 + rand.N(l.pause)):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for rest() {
		browser, err := l.logIn(ctx, subject)
		if err != nil {
			if ctx.Err() == nil {
				l.failed.add()
			}
			continue
		}
		l.alive.Add(1)
		for rest() {
			if ended := l.page(ctx, browser, subject); ended {
				l.lost.add()
				break
			}
		}
		l.alive.Add(-1)
	}
}

// page makes its calls at once, as pages do: when the access token has ended, each of them finds it so.
func (l *load) page(ctx context.Context, browser *http.Client, subject string) (ended bool) {
	var over atomic.Bool
	var calls sync.WaitGroup
	for range l.at {
		calls.Go(func() {
			if l.call(ctx, browser, subject) {
				over.Store(true)
			}
		})
	}
	calls.Wait()
	return over.Load()
}

// call asks the API who the user is, through whichever replica is next.
func (l *load) call(ctx context.Context, browser *http.Client, subject string) (ended bool) {
	status, _, body, err := get(ctx, browser, l.home+"/api/resource")
	if err != nil {
		return false
	}
	l.requests.add()
	switch status {
	case http.StatusOK:
		var answer struct {
			Sub string `json:"sub"`
		}
		if json.Unmarshal(body, &answer) != nil || answer.Sub != subject {
			l.foreign.add()
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	default:
		l.unavailable.add()
	}
	return false
}

// logIn goes the way that a browser goes.
func (l *load) logIn(ctx context.Context, subject string) (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, Timeout: 60 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	_, location, _, err := get(ctx, browser, l.home+"/auth/login")
	if err != nil {
		return nil, err
	}
	authorization, err := url.Parse(location)
	if err != nil || location == "" {
		return nil, errors.New("no way to the authorization server")
	}
	query := authorization.Query()
	query.Set("login_hint", subject) // what the user would type there
	authorization.RawQuery = query.Encode()
	back, err := l.server.NewBrowser().Open(ctx, authorization.String())
	if err != nil {
		return nil, err
	}
	status, _, _, err := get(ctx, browser, back.URL)
	if err == nil && status != http.StatusSeeOther {
		err = fmt.Errorf("the callback answered %d", status)
	}
	return browser, err
}

func get(ctx context.Context, c *http.Client, target string) (status int, location string, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Header.Get("Location"), body, err
}
