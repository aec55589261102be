package backchannel

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const grantBody = "grant_type=authorization_code&code=CODE-CANARY&code_verifier=VERIFIER-CANARY"

func newGrant(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(grantBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Basic SECRET-CANARY")
	return req
}

func newGet(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// newRequest is a request that the class accepts.
func newRequest(t testing.TB, class Class, url string) *http.Request {
	t.Helper()
	if class == Idempotent {
		return newGet(t, url)
	}
	return newGrant(t, url)
}

// wantError checks an error and returns it. It also looks for what no error may
// hold: the tests put CANARY into everything that is secret or that a server
// chooses.
func wantError(t testing.TB, err error, kind Kind, inDoubt bool) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error is %T (%v), want *Error", err, err)
	}
	if e.Kind != kind || e.InDoubt != inDoubt {
		t.Fatalf("error = %v: kind %v, in doubt %v; want kind %v, in doubt %v", e, e.Kind, e.InDoubt, kind, inDoubt)
	}
	for cause := error(e); cause != nil; cause = errors.Unwrap(cause) {
		text := fmt.Sprintf("%v %+v %#v", cause, cause, cause)
		for _, stranger := range []string{"CANARY", "example", "127.0.0.1", "http:", "https:"} {
			if strings.Contains(text, stranger) {
				t.Errorf("%q is in the error: %s", stranger, text)
			}
		}
	}
	return e
}

func wantBody(t testing.TB, resp *Response, err error, status int, body string) {
	t.Helper()
	if err != nil {
		t.Fatalf("error = %v", err)
	}
	if resp.Status != status || string(resp.Body) != body {
		t.Fatalf("answer = %d %q, want %d %q", resp.Status, resp.Body, status, body)
	}
}

// peer is one side of a connection as the server sees it.
type peer struct {
	net.Conn
	r *bufio.Reader
}

// request reads one whole request.
func (p *peer) request() (*http.Request, string, error) {
	if p.r == nil {
		p.r = bufio.NewReader(p.Conn)
	}
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(req.Body)
	return req, string(body), err
}

// answer writes a whole answer.
func (p *peer) answer(status int, body string, headers ...string) {
	fmt.Fprintf(p, "HTTP/1.1 %d Status\r\nContent-Length: %d\r\n", status, len(body))
	for _, h := range headers {
		fmt.Fprintf(p, "%s\r\n", h)
	}
	fmt.Fprintf(p, "\r\n%s", body)
}

// network is connections in memory: every dial makes a pipe, and serve handles
// the other end, with the number of the dial (from 1). A nil serve refuses.
type (
	netConn  = net.Conn
	dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)
)

type network struct {
	dials atomic.Int32
	serve func(n int, p *peer)
	done  sync.WaitGroup
}

var errRefused = errors.New("dial CANARY: refused")

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	i := int(n.dials.Add(1))
	if n.serve == nil {
		return nil, errRefused
	}
	client, server := net.Pipe()
	n.done.Go(func() {
		defer server.Close()
		n.serve(i, &peer{Conn: server})
	})
	return client, nil
}

// client returns a Client whose own transport dials into n.
func (n *network) client(t testing.TB, cfg Config) *Client {
	t.Helper()
	c := New(cfg)
	c.base.(*http.Transport).DialContext = n.dial
	t.Cleanup(func() {
		c.CloseIdleConnections()
		n.done.Wait()
	})
	return c
}

// roundTripFunc is a transport that touches no socket.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func inMemory(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return &http.Response{
		StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// listen is a raw TCP server on the loopback; serve handles each connection,
// with its number from 1.
func listen(t testing.TB, serve func(n int, p *peer)) (url string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = new(atomic.Int32)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n := int(conns.Add(1))
			done.Go(func() {
				defer conn.Close()
				serve(n, &peer{Conn: conn})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
	return "http://" + l.Addr().String(), conns
}

// reset closes a TCP connection with RST.
func reset(p *peer) {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	p.Close()
}

func loopback(t testing.TB, cfg Config) *Client {
	t.Helper()
	cfg.AllowLoopback = true
	c := New(cfg)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// certificate makes a certificate for names, signed by its own authority.
func certificate(t testing.TB, notAfter time.Time, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// tlsServer is an HTTPS server with the given certificate.
func tlsServer(t testing.TB, cert tls.Certificate, h http.HandlerFunc, change func(*tls.Config)) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if change != nil {
		change(srv.TLS)
	}
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = quietLog
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}
