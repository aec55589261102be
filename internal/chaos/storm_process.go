//go:build unix

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
)

// The ways in which a process of a storm answers its requests.
const (
	wayOurs  = "sallyport"
	wayFloor = "the call alone"            // one of all requests calls the server, the others wait for it: the reference
	wayNaive = "x/oauth2, a source each"   // a TokenSource for each request, as most applications have it
	wayReuse = "x/oauth2, a source shared" // one ReuseTokenSource for each session and process
)

// order is what a process of a storm is told: to make sessions, or to be one part of a burst.
type order struct {
	Make     int      // how many sessions
	Subjects []string // whose
	Spent    bool     // their access tokens are
	Session  string   // the burst's
	Requests int      // how many at once
	At       int64    // when, nanoseconds since 1970
}

// wave is what became of a process's part of a burst.
type wave struct {
	Waits    []time.Duration // of those that were answered, from the burst's beginning
	Tokens   []string        // the access tokens that they got, each once
	Subjects []string        // whose sessions they were answered from, each once
	Failed   int
}

// way makes sessions and answers requests for a fresh access token of them.
type way interface {
	make(ctx context.Context, subject string, spent bool) (session string, err error)
	answer(ctx context.Context, session string) (token, subject string, err error)
}

// storm does what the orders say until there are no more.
func (a *assignment) storm(in io.Reader, out io.Writer) error {
	w, err := a.way()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	orders, answers := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var answer any
		if o.Make > 0 {
			sessions := []string{}
			for i := range o.Make {
				s, err := w.make(context.Background(), o.Subjects[i], o.Spent)
				if err != nil {
					return err
				}
				sessions = append(sessions, s)
			}
			answer = sessions
		} else {
			answer = o.burst(w)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

// burst is the process's part: all requests wait at a gate that opens at the order's moment, and their time is counted from then,
// so that a request which the processor keeps waiting is not called fast.
func (o *order) burst(w way) wave {
	type result struct {
		wait           time.Duration
		token, subject string
		err            error
	}
	results := make([]result, o.Requests)
	var wg sync.WaitGroup
	gate, began := make(chan struct{}), time.Time{}
	for i := range results {
		wg.Go(func() {
			<-gate
			r := &results[i]
			r.token, r.subject, r.err = w.answer(context.Background(), o.Session)
			r.wait = time.Since(began)
		})
	}
	time.Sleep(time.Until(time.Unix(0, o.At)))
	began = time.Now()
	close(gate)
	wg.Wait()
	var out wave
	for _, r := range results {
		if r.err != nil {
			out.Failed++
			continue
		}
		out.Waits = append(out.Waits, r.wait)
		out.Tokens, out.Subjects = append(out.Tokens, r.token), append(out.Subjects, r.subject)
	}
	slices.Sort(out.Tokens)
	slices.Sort(out.Subjects)
	out.Tokens, out.Subjects = slices.Compact(out.Tokens), slices.Compact(out.Subjects)
	return out
}

func (a *assignment) way() (way, error) {
	switch a.Role {
	case wayOurs:
		app, err := a.application(nil, nil)
		if err != nil {
			return nil, err
		}
		return newOurs(app), nil
	case wayFloor, wayNaive, wayReuse:
		return newPeer(a)
	}
	return nil, errors.New("chaos: no such way")
}

// ours answers by the whole of the middleware: the session is loaded from cookie and store, its token refreshed, its cookie written.
type ours struct {
	app     *application
	handler http.Handler
}

func newOurs(app *application) *ours {
	return &ours{app, app.auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := middleware.FromContext(r.Context())
		w.Header().Set("X-Subject", s.Subject())
		w.Header().Set("X-Token", string(s.AccessToken()))
	}))}
}

// make returns a Cookie header.
func (o *ours) make(ctx context.Context, subject string, spent bool) (string, error) {
	tokens, err := o.app.logIn(ctx, subject)
	if err != nil {
		return "", err
	}
	if spent {
		tokens.Expiry = time.Now().Add(-time.Second)
	}
	return o.app.begin(ctx, tokens)
}

// begin makes a session of tokens and returns its cookie as a browser sends it.
func (app *application) begin(ctx context.Context, tokens *client.Tokens) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, callback, nil)
	if err != nil {
		return "", err
	}
	w := &discard{header: http.Header{}}
	if _, err := app.sessions.Create(w, r, app.client, nil, tokens); err != nil {
		return "", err
	}
	cookies := (&http.Response{Header: w.header}).Cookies()
	if len(cookies) != 1 {
		return "", errors.New("chaos: a session is not one cookie")
	}
	return cookies[0].Name + "=" + cookies[0].Value, nil
}

func (o *ours) answer(ctx context.Context, session string) (token, subject string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/api", nil)
	if err != nil {
		return "", "", err
	}
	r.Header.Set("Cookie", session)
	w := &discard{header: http.Header{}, status: http.StatusOK}
	o.handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return "", "", fmt.Errorf("chaos: status %d", w.status)
	}
	return w.header.Get("X-Token"), w.header.Get("X-Subject"), nil
}
