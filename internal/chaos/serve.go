//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/middleware"
)

const (
	// roleServe is a process that serves browsers.
	roleServe = "serve"

	// browserHeader says which browser makes a request, for the event log only.
	browserHeader = "X-Browser"
	// attemptHeader names each request that a process sends to the authorization server: which run of which process, and a number.
	attemptHeader = "X-Attempt"
)

// runName names one run of a process.
func runName(process, pid int) string { return strconv.Itoa(process) + "." + strconv.Itoa(pid) }

// page is what the application answers: whom it takes the browser for, and the access token that it would use.
type page struct {
	Subject    string
	Token      string
	Generation uint64
}

// serve is a process of the application, until its standard input ends or it is killed.
func (a *assignment) serve(in io.Reader, out io.Writer) error {
	run := runName(a.Process, os.Getpid())
	events, err := openEventLog(a.EventLog, run)
	if err != nil {
		return err
	}
	app, err := a.application(&attempts{run: run, base: &http.Transport{MaxIdleConnsPerHost: 64}}, events.add)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api", app.auth.RequireToken(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := middleware.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page{s.Subject(), string(s.AccessToken()), s.TokenGeneration()})
	})))
	handler := app.auth.Handler(mux)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		browser, _ := strconv.Atoi(r.Header.Get(browserHeader))
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), browserKey{}, browser)))
	})}
	listener, err := net.Listen("tcp", a.Listen)
	if err != nil {
		return err
	}
	go func() { _ = server.Serve(listener) }()
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = server.Shutdown(ctx)
	_ = app.sessions.Shutdown(ctx)
	app.close()
	return nil
}

// attempts names requests to the authorization server.
type attempts struct {
	run  string
	n    atomic.Uint64
	base http.RoundTripper
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(attemptHeader, a.run+"."+strconv.FormatUint(a.n.Add(1), 10))
	return a.base.RoundTrip(r)
}
