package authtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestTransportGivesWhatTheSocketGives(t *testing.T) {
	g := newWire(t, authtest.Config{})
	inProcess := &rig{t: t, as: g.as, id: g.id, http: &http.Client{Transport: g.as.Transport(), CheckRedirect: noRedirect}}
	for _, target := range []string{"jwks", "authorize", "token", "nothing", ".well-known/openid-configuration"} {
		a, bodyA := g.get(g.endpoint(target))
		b, bodyB := inProcess.get(g.endpoint(target))
		if a.StatusCode != b.StatusCode || a.Status != b.Status || string(bodyA) != string(bodyB) || a.ContentLength != b.ContentLength ||
			a.Header.Get("Content-Type") != b.Header.Get("Content-Type") || b.Header.Get("Content-Length") != strconv.Itoa(len(bodyB)) {
			t.Errorf("%s: %v %v", target, a, b)
		}
	}
	inProcess.logIn()
	for _, r := range g.as.Log(authtest.JWKS) {
		if r.Method != "GET" || r.Path != "/jwks" {
			t.Errorf("%+v", r)
		}
	}
}

func TestTransportTellsWhatWasWritten(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for name, test := range map[string]struct {
		fault  authtest.Fault
		unplug bool
		want   string
	}{
		"answered":  {want: "get got headers request answer"},
		"dropped":   {fault: authtest.Fault{Wire: authtest.DropAfter}, want: "get got headers request"},
		"unplugged": {unplug: true, want: "get"},
	} {
		stop := g.as.Misbehave(test.fault)
		plug := func() error { return nil }
		if test.unplug {
			plug = g.as.Unplug()
		}
		var seen []string
		note := func(what string) { seen = append(seen, what) }
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GetConn:              func(string) { note("get") },
			GotConn:              func(httptrace.GotConnInfo) { note("got") },
			WroteHeaders:         func() { note("headers") },
			WroteRequest:         func(httptrace.WroteRequestInfo) { note("request") },
			GotFirstResponseByte: func() { note("answer") },
		}), "GET", g.endpoint("jwks"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := g.http.Transport.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
		if got := strings.Join(seen, " "); got != test.want {
			t.Errorf("%s: %s", name, got)
		}
		stop()
		if err := plug(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTransportServesOneOrigin(t *testing.T) {
	g := newRig(t, authtest.Config{})
	for _, target := range []string{"https://evil.example/jwks", "http://as.example/jwks", "https://as.example:444/jwks"} {
		_, err := g.http.Get(target)
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("%s: %v", target, err)
		}
	}
	if n := g.as.Requests(""); n != 0 {
		t.Errorf("%d requests", n)
	}
}

type closeable struct {
	io.Reader
	closed bool
}

func (c *closeable) Close() error { c.closed = true; return nil }

func TestTransportAndBodies(t *testing.T) {
	g := newRig(t, authtest.Config{})
	broken := &closeable{Reader: io.MultiReader(strings.NewReader("grant_type="), errReader{})}
	r := g.postRequest("token", url.Values{})
	r.Body = broken
	if _, err := g.http.Transport.RoundTrip(r); !errors.Is(err, io.ErrClosedPipe) || !broken.closed {
		t.Errorf("%v, closed %v", err, broken.closed)
	}
	head, err := http.NewRequestWithContext(t.Context(), "HEAD", g.endpoint("jwks"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := g.do(head); resp.StatusCode != 405 || len(body) != 0 {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	resp, err := g.http.Get(g.endpoint("jwks"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := resp.Body.Read(nil); n != 0 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	_ = resp.Body.Close()
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestTransportAndContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, err := authtest.New(authtest.Config{Issuer: "https://as.example"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "https://as.example/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		// A body that is being read ends with the context.
		resp, err := as.Transport().RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		// A dead context asks nothing.
		if _, err := as.Transport().RoundTrip(r); !errors.Is(err, context.Canceled) || as.Requests("") != 1 {
			t.Errorf("%v, %d requests", err, as.Requests(""))
		}
		// A hook that blocks does not hold the client, and the server goes on.
		release, done := make(chan struct{}), make(chan struct{})
		as.Misbehave(authtest.Fault{Response: func(*authtest.Request, *authtest.Response) { <-release; close(done) }})
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := as.Transport().RoundTrip(r.WithContext(short)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(release)
		<-done
	})
}

func TestTransportUnplugged(t *testing.T) {
	g := newRig(t, authtest.Config{})
	plug := g.as.Unplug()
	_, err := g.http.Get(g.endpoint("jwks"))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if err := plug(); err != nil {
		t.Fatal(err)
	}
	if got := g.status("jwks"); got != 200 || g.as.Requests("") != 1 {
		t.Errorf("%d, %d requests", got, g.as.Requests(""))
	}
}
