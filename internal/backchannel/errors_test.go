package backchannel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// hooked is a transport that asks for a connection, as the hooks of httptrace
// tell it, and then fails with err.
func hooked(err error) http.RoundTripper {
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("CANARY:443")
		return nil, err
	})
}

func TestReasons(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect CANARY", err)}
	}
	for _, tt := range []struct {
		name   string
		err    error
		kind   Kind
		reason error
	}{
		{"refused", dial(syscall.ECONNREFUSED), KindTransport, reasonRefused},
		{"reset", dial(syscall.ECONNRESET), KindTransport, reasonReset},
		{"broken pipe", dial(syscall.EPIPE), KindTransport, reasonReset},
		{"no route", dial(syscall.EHOSTUNREACH), KindTransport, reasonRoute},
		{"no network", dial(syscall.ENETUNREACH), KindTransport, reasonRoute},
		{"no such name", &net.DNSError{Err: "CANARY", Name: "as.example", IsNotFound: true}, KindTransport, reasonName},
		{"no resolver", &net.DNSError{Err: "CANARY", Name: "as.example", Server: "CANARY"}, KindTransport, reasonResolver},
		{"end", io.EOF, KindTransport, reasonEnded},
		{"end inside", fmt.Errorf("CANARY: %w", io.ErrUnexpectedEOF), KindTransport, reasonEnded},
		{"anything", errors.New("CANARY"), KindTransport, nil},
		{"timeout of the transport", dial(syscall.ETIMEDOUT), KindTimeout, nil},
		{"timeout of another context", context.DeadlineExceeded, KindTimeout, nil},
		{"cancellation of another context", context.Canceled, KindTransport, nil},
		{"address", &net.OpError{Op: "dial", Err: errAddress}, KindAddress, nil},
		{"authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, KindTLS, reasonAuthority},
		{"host name", x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"CANARY"}}, Host: "as.example"}, KindTLS, reasonHostname},
		{"expired", x509.CertificateInvalidError{Reason: x509.Expired, Detail: "CANARY"}, KindTLS, reasonExpired},
		{"not for servers", x509.CertificateInvalidError{Reason: x509.IncompatibleUsage, Detail: "CANARY"}, KindTLS, reasonAuthority},
		{"not TLS", tls.RecordHeaderError{Msg: "CANARY"}, KindTLS, reasonPlain},
		{"not TLS, but HTTP", http.ErrSchemeMismatch, KindTLS, reasonPlain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The timeout leaves no room for a second attempt.
			c := New(Config{Base: hooked(&url.Error{Op: "Post", URL: "https://as.example/CANARY", Err: tt.err}), Timeout: maxBackoff})
			_, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
			e := wantError(t, err, tt.kind, false)
			if e.err != tt.reason {
				t.Errorf("reason %v, want %v", e.err, tt.reason)
			}
			if want := tt.kind.String(); !strings.Contains(e.Error(), want) {
				t.Errorf("%q does not say %q", e, want)
			}
			if tt.reason != nil && !strings.HasSuffix(e.Error(), tt.reason.Error()) {
				t.Errorf("%q does not say %q", e, tt.reason)
			}
		})
	}
}

// A transport whose hooks tell only half, as one that wraps another may: an answer
// that began, or a connection at hand when the call was cancelled, is in doubt.
func TestInDoubtInSpiteOfTheHooks(t *testing.T) {
	c := New(Config{Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("CANARY:443")
		r := inMemory(200, "")
		r.Body = io.NopCloser(iotest.ErrReader(errors.New("CANARY")))
		return r, nil
	})})
	_, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
	wantError(t, err, KindTransport, true)

	// ATK-T31
	ctx, cancel := context.WithCancel(t.Context())
	c = New(Config{Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(req.Context()).GetConn("CANARY:443")
		httptrace.ContextClientTrace(req.Context()).GotConn(httptrace.GotConnInfo{})
		cancel()
		return nil, req.Context().Err()
	})})
	_, err = c.Do(newGrant(t, "https://as.example/token").WithContext(ctx), OneTimeGrant, 0)
	wantError(t, err, KindCanceled, true)
}

// Without hooks, nothing proves that a certificate was refused before the
// request went out on another connection.
func TestCertificateErrorWithoutHooks(t *testing.T) {
	c := New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
		return nil, x509.UnknownAuthorityError{}
	})})
	_, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
	wantError(t, err, KindTransport, true)
}

func TestHandshakeFailures(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		tls  bool
	}{
		{"no error", nil, false},
		{"end", io.EOF, false},
		{"pipe", io.ErrClosedPipe, false},
		{"cancelled", context.Canceled, false},
		{"deadline", os.ErrDeadlineExceeded, false},
		{"read", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, false},
		{"write", &net.OpError{Op: "write", Err: syscall.EPIPE}, false},
		{"alert from the server", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, true},
		{"alert from us", &net.OpError{Op: "local error", Err: errors.New("tls: no renegotiation")}, true},
		{"version", errors.New("tls: server selected unsupported protocol version 301"), true},
		{"certificate", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c call
			c.handshakeDone(tls.ConnectionState{}, tt.err)
			if got := c.marks.Load()&markTLS != 0; got != tt.tls {
				t.Errorf("a fault of TLS: %v, want %v", got, tt.tls)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  *Error
		want string
	}{
		{&Error{}, "backchannel: connection failed"},
		{&Error{Kind: KindTransport, InDoubt: true, err: reasonReset}, "backchannel: connection failed: connection reset (the server may have processed the request)"},
		{contextError(context.Canceled, false), "backchannel: canceled"},
		{contextError(context.DeadlineExceeded, true), "backchannel: deadline exceeded (the server may have processed the request)"},
		{&Error{Kind: KindRedirect, Status: 307}, "backchannel: redirect refused"},
		{&Error{Kind: -1}, "backchannel: unknown failure"},
		{&Error{Kind: KindRequest + 1}, "backchannel: unknown failure"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%#v: %q, want %q", tt.err, got, tt.want)
		}
	}
	for k := KindTransport; k <= KindRequest; k++ {
		if s := k.String(); s == "" || s == "unknown failure" {
			t.Errorf("kind %d has no text", k)
		}
	}
}

// The cause given to a context is the caller's own and stays with the caller.
func TestCancelCauseIsNotKept(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := New(Config{Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		cancel(errors.New("CANARY"))
		return nil, context.Cause(req.Context())
	})})
	_, err := c.Do(newGrant(t, "https://as.example/token").WithContext(ctx), OneTimeGrant, 0)
	wantError(t, err, KindCanceled, true)
	if !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("errors.Is is wrong about %v", err)
	}
}
