package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/session"
)

// A hook that panics with a value of its own breaks neither the request nor the secret's silence.
func TestContain(t *testing.T) {
	err := contained(func() error { panic("canary-panic-value") })
	if !errors.Is(err, errInternal) || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "canary") {
		t.Errorf("%v", err)
	}
	if err := contained(func() error { return session.ErrNoSession }); err != session.ErrNoSession {
		t.Errorf("%v", err)
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("an abort is swallowed")
		}
	}()
	_ = contained(func() error { panic(http.ErrAbortHandler) })
}

// What cannot be written is our fault and not a reason to log in again, which would end the same way.
func TestOwnFaults(t *testing.T) {
	a := testAuth(t, Config{})
	size := client.NewError(session.ErrCookie, "size", nil)
	rec := httptest.NewRecorder()
	a.deny(rec, with("GET", "/"), writeFault(size), true)
	isProblem(t, rec, http.StatusInternalServerError, "internal")
	if !errors.Is(writeFault(size), session.ErrCookie) || writeFault(nil) != nil {
		t.Error("the cause is lost")
	}
	if p := describe(ownFault{size}); p.status != http.StatusInternalServerError || p.code != "cookie" {
		t.Errorf("%+v", p)
	}
	full := client.NewError(session.ErrStore, "full", nil)
	full.Outcome = client.Transient
	if p := describe(ownFault{full}); p.status != http.StatusServiceUnavailable || p.retryAfter == 0 {
		t.Errorf("%+v", p)
	}
	// On the callback 5xx is for what is our own fault.
	for err, status := range map[error]int{ownFault{full}: 503, full: 503, client.NewError(client.ErrJWKS, "", nil): 400, client.NewError(client.ErrConfig, "secret", nil): 500, client.NewError(errSpeculative, "", nil): 503} {
		if p := describe(responseFault{err}); p.status != status || (p.retryAfter != 0) != (status == 503) {
			t.Errorf("%v: %+v", err, p)
		}
	}
	if p := describe(errors.New("anything")); p.status != http.StatusInternalServerError || p.code != "internal" {
		t.Errorf("%+v", p)
	}
	if p := describe(client.NewError(client.ErrEndpointRefused, "", nil)); p.status != http.StatusBadGateway {
		t.Errorf("%+v", p)
	}
	broken := client.NewError(client.ErrDiscovery, "json", nil)
	broken.Outcome, broken.Action = client.Rejected, client.ActionFixConfiguration
	if p := describe(broken); p.status != http.StatusBadGateway {
		t.Errorf("%+v", p)
	}
	inDoubt := client.NewError(client.ErrTransport, "", nil)
	inDoubt.Outcome = client.InDoubt
	if p := describe(inDoubt); p.status != http.StatusBadGateway {
		t.Errorf("%+v", p)
	}
}

// A login whose session no browser would keep: nothing is stored, and the tokens are given back.
func TestSessionTooLarge(t *testing.T) { // ATK-K05
	b := newBench(t, options{})
	br := b.browser()
	br.login()
	p := br.begin("/auth/login")
	b.as[0].Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(j *authtest.JWT) { j.Claims["groups"] = strings.Repeat("g", 20<<10) }})
	br.refuse(p.request(), outcome{status: http.StatusInternalServerError, code: session.ErrCookie, reason: "size", public: "cookie", calls: 3, consumes: true}, p)
	if n := b.as[0].Requests(authtest.Revocation); n != 2 {
		t.Errorf("%d revocations", n)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int{-time.Second: 1, 0: 1, time.Millisecond: 1, time.Second: 1, 1001 * time.Millisecond: 2, time.Hour: 60} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %d", d, got)
		}
	}
}
