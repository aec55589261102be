package authtest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/client/authtest"
)

func TestTLS(t *testing.T) {
	as := authtest.NewServer(authtest.Config{TLS: true, Clients: []authtest.Client{app()}})
	defer as.Close()
	if !strings.HasPrefix(as.Issuer(), "https://127.0.0.1:") {
		t.Fatalf("issuer %q", as.Issuer())
	}
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: as.CertPool()}, ForceAttemptHTTP2: true}
	defer trusting.CloseIdleConnections()
	g := &rig{t: t, as: as, id: "app", http: &http.Client{Transport: trusting, CheckRedirect: noRedirect}}
	tokens := g.logIn()
	if m := g.metadata(); m["issuer"] != as.Issuer() || !strings.HasPrefix(m["token_endpoint"].(string), "https://") {
		t.Errorf("%v", m)
	}
	resp, _ := g.userInfo(tokens["access_token"])
	if resp.ProtoMajor != 2 {
		t.Errorf("%s", resp.Proto)
	}
	// Each fault that net/http can deliver over HTTP/2.
	for wire, want := range map[authtest.Wire]string{authtest.DropAfter: "", authtest.Truncate: `{"keys"`, authtest.Drip: `{"keys"`} {
		open := make(chan struct{})
		close(open)
		stop := as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: wire, Gate: open})
		resp, err := g.http.Get(g.endpoint("jwks"))
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if (err == nil) != (wire == authtest.Drip) || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s: %q %v", wire, body, err)
		}
		stop()
	}
	stranger := &http.Transport{}
	defer stranger.CloseIdleConnections()
	if _, err := (&http.Client{Transport: stranger}).Get(as.Issuer() + "/jwks"); err == nil {
		t.Error("the certificate is trusted by strangers")
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("%v", err)
	}
}

func TestCertPoolWithoutTLS(t *testing.T) {
	if g := newWire(t, authtest.Config{}); g.as.CertPool() != nil {
		t.Error("a pool out of nowhere")
	}
}

func TestUnplug(t *testing.T) {
	g := newWire(t, authtest.Config{})
	tokens := g.logIn()
	first := g.as.Unplug()
	second := g.as.Unplug()
	if _, err := g.http.Get(g.endpoint("jwks")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if _, err := g.as.Authorize(t.Context(), g.request(newVerifier())); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	for range 2 { // the second call does nothing
		if err := first(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.http.Get(g.endpoint("jwks")); err == nil {
		t.Error("in again while another cable is out")
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if resp, _ := g.userInfo(tokens["access_token"]); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestUnplugEndsAStall(t *testing.T) {
	g := newWire(t, authtest.Config{})
	when, arrived := arrivals()
	g.as.Misbehave(authtest.Fault{When: when, Wire: authtest.StallBefore})
	failed := make(chan error)
	go func() {
		_, err := g.http.Get(g.endpoint("jwks"))
		failed <- err
	}()
	<-arrived
	plug := g.as.Unplug()
	if err := <-failed; err == nil {
		t.Error("an answer from an unplugged server")
	}
	if err := plug(); err != nil {
		t.Fatal(err)
	}
}

func TestPlugWhenThePortIsTaken(t *testing.T) {
	g := newWire(t, authtest.Config{})
	plug := g.as.Unplug()
	squatter, err := net.Listen("tcp", strings.TrimPrefix(g.as.Issuer(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = squatter.Close() }()
	if err := plug(); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("%v", err)
	}
}

func TestClose(t *testing.T) {
	g := newWire(t, authtest.Config{})
	plug := g.as.Unplug()
	g.as.Close()
	g.as.Close()
	if err := plug(); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := g.http.Get(g.endpoint("jwks")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

// A server behind somebody else's listener.
func TestHandler(t *testing.T) {
	var as *authtest.Server
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { as.ServeHTTP(w, r) }))
	defer front.Close()
	as, err := authtest.New(authtest.Config{Issuer: front.URL, Clients: []authtest.Client{app()}})
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, as: as, id: "app", http: front.Client()}
	g.logIn()
	plug := as.Unplug()
	if _, err := g.http.Get(g.endpoint("jwks")); err == nil {
		t.Error("an answer from an unplugged server")
	}
	if err := plug(); err != nil {
		t.Fatal(err)
	}
	// Close ends stalls even though the listener lives on.
	for _, wire := range []authtest.Wire{authtest.StallBefore, authtest.StallAfter, authtest.StallBody, authtest.Drip} {
		when, arrived := arrivals()
		stop := as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, When: when, Wire: wire})
		failed := make(chan error)
		go func() {
			resp, err := g.http.Get(g.endpoint("jwks"))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			failed <- err
		}()
		<-arrived
		as.Close()
		if err := <-failed; err == nil {
			t.Errorf("%s: an answer", wire)
		}
		stop()
	}
}

func TestNewServerPanics(t *testing.T) {
	for name, cfg := range map[string]authtest.Config{
		"a fixed issuer":      {Issuer: "https://as.example"},
		"a bad configuration": {Algorithm: "none"},
		"a bad path":          {IssuerPath: "/?x"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			authtest.NewServer(cfg).Close()
		})
	}
}
