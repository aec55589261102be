package backchannel

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTLS(t *testing.T) {
	// ATK-T24: a certificate that does not hold ends the call before anything
	// of the request is sent, at the first attempt.
	later := time.Now().Add(24 * time.Hour)
	good, goodPool := certificate(t, later, "127.0.0.1")
	wrong, wrongPool := certificate(t, later, "other.example")
	expired, expiredPool := certificate(t, time.Now().Add(-time.Hour), "127.0.0.1")
	oldTLS := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	refuseSNI := func(c *tls.Config) {
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errRefused }
	}
	for _, tt := range []struct {
		name   string
		cert   tls.Certificate
		pool   *x509.CertPool
		change func(*tls.Config)
		ok     bool
		reason error
	}{
		{"good", good, goodPool, nil, true, nil},
		{"TLS 1.2", good, goodPool, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true, nil},
		{"self-signed", good, nil, nil, false, reasonAuthority},
		{"another authority", good, wrongPool, nil, false, reasonAuthority},
		{"wrong name", wrong, wrongPool, nil, false, reasonHostname},
		{"expired", expired, expiredPool, nil, false, reasonExpired},
		{"TLS 1.1", good, goodPool, oldTLS, false, nil},
		{"handshake refused by the server", good, goodPool, refuseSNI, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests, handshakes atomic.Int32
			srv := tlsServer(t, tt.cert, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				io.WriteString(w, "ok")
			}, func(c *tls.Config) {
				if tt.change != nil {
					tt.change(c)
				}
				before := c.GetConfigForClient
				c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					handshakes.Add(1)
					if before != nil {
						return before(hello)
					}
					return nil, nil
				}
			})
			for _, class := range []Class{OneTimeGrant, RefreshGrant, Idempotent} {
				requests.Store(0)
				handshakes.Store(0)
				resp, err := loopback(t, Config{RootCAs: tt.pool}).Do(newRequest(t, class, srv.URL), class, 0)
				if tt.ok {
					wantBody(t, resp, err, 200, "ok")
					continue
				}
				e := wantError(t, err, KindTLS, false)
				if e.err != tt.reason {
					t.Errorf("reason %v, want %v", e.err, tt.reason)
				}
				if requests.Load() != 0 || handshakes.Load() != 1 {
					t.Errorf("%d requests, %d handshakes, want 0, 1", requests.Load(), handshakes.Load())
				}
			}
		})
	}
}

func TestPlainServerBehindHTTPS(t *testing.T) {
	// ATK-T24: a server that answers the handshake in plain text.
	for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "CANARY CANARY CANARY"} {
		url, conns := listen(t, func(_ int, p *peer) {
			_, _ = p.Read(make([]byte, 1))
			io.WriteString(p, answer)
			_, _ = io.Copy(io.Discard, p)
		})
		_, err := loopback(t, Config{}).Do(newGrant(t, strings.Replace(url, "http", "https", 1)), OneTimeGrant, 0)
		if e := wantError(t, err, KindTLS, false); e.err != reasonPlain {
			t.Errorf("reason %v", e.err)
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
}

// proxyChild tells the test below that it runs with the proxy set: net/http
// reads these variables once per process.
const proxyChild = "BACKCHANNEL_TEST_PROXY"

func TestProxyFromTheEnvironmentIsIgnored(t *testing.T) {
	// ATK-T23: HTTPS_PROXY and HTTP_PROXY do not move the back channel.
	if os.Getenv(proxyChild) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), proxyChild+"=1",
			"HTTP_PROXY=http://evil.example:8080", "HTTPS_PROXY=http://evil.example:8080",
			"http_proxy=http://evil.example:8080", "https_proxy=http://evil.example:8080", "NO_PROXY=", "no_proxy=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	probe := newGet(t, "https://as.example/x")
	if u, err := http.ProxyFromEnvironment(probe); err != nil || u == nil || u.Host != "evil.example:8080" {
		t.Fatalf("the environment has no proxy (%v, %v): this test shows nothing", u, err)
	}
	synctest.Test(t, func(t *testing.T) {
		var n network
		n.serve = func(_ int, p *peer) {
			req, _, err := p.request()
			if err != nil {
				return
			}
			if req.URL.IsAbs() || req.Method == http.MethodConnect {
				t.Errorf("the request is one for a proxy: %s %s", req.Method, req.URL)
			}
			p.answer(200, req.Host)
		}
		resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), OneTimeGrant, 0)
		wantBody(t, resp, err, 200, "as.example")
	})
}

func TestHugeHeaders(t *testing.T) {
	// ATK-T04: headers have a limit of their own.
	line := "X-Fill: " + strings.Repeat("x", 1000) + "\r\n"
	t.Run("below", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := afterRequest(func(p *peer) {
				io.WriteString(p, "HTTP/1.1 200 OK\r\n"+strings.Repeat(line, 50)+"Content-Length: 2\r\n\r\nok")
			})
			resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), OneTimeGrant, 0)
			wantBody(t, resp, err, 200, "ok")
		})
	})
	for name, fill := range map[string]string{"many": line, "one": strings.Repeat("x", 1000)} {
		t.Run(name, func(t *testing.T) {
			eachGrant(t, func(t *testing.T, class Class) {
				var sent countingConn
				n := afterRequest(func(p *peer) {
					sent.Writer = p
					io.WriteString(&sent, "HTTP/1.1 200 OK\r\nX-First: ")
					for {
						if _, err := io.WriteString(&sent, fill); err != nil {
							return
						}
					}
				})
				_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
				wantError(t, err, KindTransport, true)
				n.done.Wait()
				if sent.n > 128<<10 {
					t.Errorf("the client took %d bytes of headers", sent.n)
				}
			})
		})
	}
}

func TestOwnTransportSettings(t *testing.T) {
	c := New(Config{})
	tr := c.base.(*http.Transport)
	if !c.own || tr.Proxy != nil || !tr.DisableCompression || tr.MaxResponseHeaderBytes != 64<<10 {
		t.Errorf("own %v, compression disabled %v, header limit %d", c.own, tr.DisableCompression, tr.MaxResponseHeaderBytes)
	}
	if cfg := tr.TLSClientConfig; cfg.InsecureSkipVerify || cfg.MinVersion != tls.VersionTLS12 || cfg.KeyLogWriter != nil {
		t.Errorf("TLS: %+v", cfg)
	}
	if tr.TLSHandshakeTimeout != defaultTimeout {
		t.Errorf("handshake timeout %v: an abandoned handshake would never end", tr.TLSHandshakeTimeout)
	}
	if jar := c.retry.HTTPClient.Jar; jar != nil {
		t.Error("there is a cookie jar")
	}
	if c.retry.Logger != nil {
		t.Error("there is a logger")
	}
}
