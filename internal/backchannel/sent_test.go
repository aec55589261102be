package backchannel

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var quietLog = log.New(io.Discard, "", 0)

var grants = map[string]Class{"code": OneTimeGrant, "refresh": RefreshGrant, "unknown class": Class(99)}

func eachGrant(t *testing.T, f func(t *testing.T, class Class)) {
	for name, class := range grants {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, class) })
		})
	}
}

func TestGrantIsSentAgainWhenNothingWasSent(t *testing.T) {
	// ATK-T20: refused connection.
	eachGrant(t, func(t *testing.T, class Class) {
		var requests atomic.Int32
		var n network
		n.serve = func(_ int, p *peer) {
			_, body, err := p.request()
			if err != nil {
				return
			}
			requests.Add(1)
			p.answer(200, body)
		}
		c := n.client(t, Config{})
		dial := c.base.(*http.Transport).DialContext
		refused := false
		c.base.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !refused {
				refused = true
				return nil, errRefused
			}
			return dial(ctx, network, addr)
		}
		resp, err := c.Do(newGrant(t, "http://as.example/token"), class, 0)
		wantBody(t, resp, err, 200, grantBody)
		if !refused || requests.Load() != 1 {
			t.Errorf("refused %v, %d requests", refused, requests.Load())
		}
	})
}

func TestGrantGivesUpAfterOneMoreDial(t *testing.T) {
	// ATK-T20: one retry is allowed, and the outcome is certain.
	eachGrant(t, func(t *testing.T, class Class) {
		var n network
		_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
		wantError(t, err, KindTransport, false)
		if d := n.dials.Load(); d != 2 {
			t.Errorf("%d dials, want 2", d)
		}
	})
}

func TestGrantIsNeverSentTwice(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(p *peer) // after the request has been read
	}{
		// ATK-T21: the request was read, and the connection ends.
		{"closed without an answer", func(p *peer) {}},
		{"half a status line", func(p *peer) { io.WriteString(p, "HTTP/1.1 20") }},
		{"half a head", func(p *peer) { io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-") }},
		{"not HTTP", func(p *peer) { io.WriteString(p, "SSH-2.0-CANARY\r\n\r\n") }},
		{"half a body", func(p *peer) { io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\"") }},
		{"half a chunk", func(p *peer) { io.WriteString(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"a\"") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachGrant(t, func(t *testing.T, class Class) {
				var requests atomic.Int32
				var n network
				n.serve = func(_ int, p *peer) {
					if _, _, err := p.request(); err == nil {
						requests.Add(1)
						tt.end(p)
					}
				}
				_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
				wantError(t, err, KindTransport, true)
				if r, d := requests.Load(), n.dials.Load(); r != 1 || d != 1 {
					t.Errorf("%d requests on %d connections, want 1 on 1", r, d)
				}
			})
		})
	}
}

// On a connection that was used before, net/http has a retry of its own.
func TestGrantOnAReusedConnection(t *testing.T) {
	// ATK-T21: the second request on a connection is read and not answered.
	eachGrant(t, func(t *testing.T, class Class) {
		var requests atomic.Int32
		var n network
		n.serve = func(_ int, p *peer) {
			if _, _, err := p.request(); err != nil {
				return
			}
			requests.Add(1)
			p.answer(200, "first")
			if _, _, err := p.request(); err == nil {
				requests.Add(1)
			}
		}
		c := n.client(t, Config{})
		resp, err := c.Do(newGrant(t, "http://as.example/token"), class, 0)
		wantBody(t, resp, err, 200, "first")
		_, err = c.Do(newGrant(t, "http://as.example/token"), class, 0)
		wantError(t, err, KindTransport, true)
		if r, d := requests.Load(), n.dials.Load(); r != 2 || d != 1 {
			t.Errorf("%d requests on %d connections, want 2 on 1", r, d)
		}
	})
}

// The counterpart: the same server and an idempotent call, which net/http or we
// repeat. It shows that the test above could fail.
func TestIdempotentOnAReusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		n.serve = func(i int, p *peer) {
			if _, _, err := p.request(); err != nil {
				return
			}
			p.answer(200, "first")
			if _, _, err := p.request(); err == nil && i > 1 {
				p.answer(200, "second")
			}
		}
		c := n.client(t, Config{})
		for range 3 {
			resp, err := c.Do(newGet(t, "http://as.example/keys"), Idempotent, 0)
			if err != nil || resp.Status != 200 {
				t.Fatalf("answer %v, error %v", resp, err)
			}
		}
		if d := n.dials.Load(); d != 2 {
			t.Errorf("%d connections, want 2", d)
		}
	})
}

// A connection that the server closed while nobody used it is not used.
func TestGrantAfterAnIdleClose(t *testing.T) {
	// ATK-T20: nothing was sent on the dead connection.
	eachGrant(t, func(t *testing.T, class Class) {
		var n network
		n.serve = func(_ int, p *peer) {
			if _, _, err := p.request(); err == nil {
				p.answer(200, "ok")
			}
		}
		c := n.client(t, Config{})
		for range 2 {
			resp, err := c.Do(newGrant(t, "http://as.example/token"), class, 0)
			wantBody(t, resp, err, 200, "ok")
			synctest.Wait() // for net/http to notice
		}
		if d := n.dials.Load(); d != 2 {
			t.Errorf("%d dials, want 2", d)
		}
	})
}

// deafConn fails every write once broken, while its reads wait.
type deafConn struct {
	net.Conn
	broken atomic.Bool
}

func (d *deafConn) Write(b []byte) (int, error) {
	if d.broken.Load() {
		return 0, errors.New("write CANARY failed")
	}
	return d.Conn.Write(b)
}

// A write that fails has been tried: net/http's own proof that no byte left is
// not visible from outside, so this is in doubt, and certainly not sent again.
func TestGrantWhoseWriteFails(t *testing.T) {
	eachGrant(t, func(t *testing.T, class Class) {
		var n network
		n.serve = func(_ int, p *peer) {
			for {
				if _, _, err := p.request(); err != nil {
					return
				}
				p.answer(200, "ok")
			}
		}
		c := n.client(t, Config{})
		var conns []*deafConn
		c.base.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := n.dial(ctx, network, addr)
			conns = append(conns, &deafConn{Conn: conn})
			return conns[len(conns)-1], err
		}
		resp, err := c.Do(newGrant(t, "http://as.example/token"), class, 0)
		wantBody(t, resp, err, 200, "ok")
		conns[0].broken.Store(true)
		_, err = c.Do(newGrant(t, "http://as.example/token"), class, 0)
		wantError(t, err, KindTransport, true)
		if len(conns) != 1 {
			t.Errorf("%d dials, want 1", len(conns))
		}
	})
}

func TestTransportWithoutHooksIsInDoubt(t *testing.T) {
	eachGrant(t, func(t *testing.T, class Class) {
		calls := 0
		c := New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
			calls++
			return nil, errors.New("CANARY")
		})})
		_, err := c.Do(newGrant(t, "https://as.example/token"), class, 0)
		wantError(t, err, KindTransport, true)
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

func TestTransportThatReturnsNothing(t *testing.T) {
	c := New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, nil })})
	_, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
	wantError(t, err, KindTransport, true)

	c = New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Header: http.Header{}}, nil
	})})
	resp, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
	wantBody(t, resp, err, 204, "")
}

func TestCancel(t *testing.T) {
	// ATK-T31: the browser goes away. What was not sent is certain, what was is
	// in doubt, and nothing is left behind (a goroutine would fail the bubble).
	t.Run("before", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			var n network
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token").WithContext(ctx), class, 0)
			wantError(t, err, KindCanceled, false)
			if d := n.dials.Load(); d != 0 {
				t.Errorf("%d dials", d)
			}
		})
	})
	t.Run("while connecting", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			ctx, cancel := context.WithCancel(t.Context())
			c := New(Config{})
			hangup := make(chan struct{})
			defer close(hangup) // net/http does not end a dial with the request
			c.base.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
				cancel()
				<-hangup
				return nil, errRefused
			}
			_, err := c.Do(newGrant(t, "http://as.example/token").WithContext(ctx), class, 0)
			wantError(t, err, KindCanceled, false)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("errors.Is does not find the cancellation in %v", err)
			}
		})
	})
	t.Run("while waiting for the answer", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			ctx, cancel := context.WithCancel(t.Context())
			var n network
			n.serve = func(_ int, p *peer) {
				_, _, _ = p.request()
				cancel()
				_, _, _ = p.request() // until the client hangs up
			}
			_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token").WithContext(ctx), class, 0)
			wantError(t, err, KindCanceled, true)
		})
	})
	t.Run("inside the body", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			ctx, cancel := context.WithCancel(t.Context())
			var n network
			n.serve = func(_ int, p *peer) {
				_, _, _ = p.request()
				io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\"")
				synctest.Wait()
				cancel()
				_, _, _ = p.request()
			}
			_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token").WithContext(ctx), class, 0)
			if e := wantError(t, err, KindCanceled, true); e.Status != 200 {
				t.Errorf("status %d, want 200", e.Status)
			}
		})
	})
	t.Run("between two attempts", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			ctx, cancel := context.WithCancel(t.Context())
			c := New(Config{})
			dials := 0
			c.base.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
				dials++
				// Sooner than the shortest wait before the second attempt.
				time.AfterFunc(time.Millisecond, cancel)
				return nil, errRefused
			}
			_, err := c.Do(newGrant(t, "http://as.example/token").WithContext(ctx), class, 0)
			wantError(t, err, KindCanceled, false)
			if dials != 1 {
				t.Errorf("%d dials, want 1", dials)
			}
		})
	})
}

// From the moment there is a connection, net/http may return from a cancelled
// request while another goroutine still writes it.
func TestInterruptedOnAConnectionIsInDoubt(t *testing.T) {
	for name, tt := range map[string]struct {
		marks       uint32
		interrupted bool
		want        bool
	}{
		"no hooks":                     {0, false, false},
		"no connection":                {markTraced, false, true},
		"no connection, interrupted":   {markTraced, true, true},
		"connected":                    {markTraced | markConnected, false, true},
		"connected, interrupted":       {markTraced | markConnected, true, false},
		"written":                      {markTraced | markConnected | markWritten, false, false},
		"written without the rest":     {markWritten, false, false},
		"handshake failed, not hooked": {markTLS, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var c call
			c.mark(tt.marks)
			if got := c.notSent(tt.interrupted); got != tt.want {
				t.Errorf("notSent = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRealResets(t *testing.T) {
	t.Run("reset after reading", func(t *testing.T) {
		// ATK-T21: RST once the request has been read, on a real socket.
		for name, class := range grants {
			t.Run(name, func(t *testing.T) {
				url, conns := listen(t, func(_ int, p *peer) {
					_, _, _ = p.request()
					reset(p)
				})
				_, err := loopback(t, Config{}).Do(newGrant(t, url), class, 0)
				wantError(t, err, KindTransport, true)
				if n := conns.Load(); n != 1 {
					t.Errorf("%d connections, want 1", n)
				}
			})
		}
	})
	t.Run("refused", func(t *testing.T) {
		// ATK-T20: nobody listens.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		url := "http://" + l.Addr().String()
		l.Close()
		for _, class := range grants {
			_, err := loopback(t, Config{}).Do(newGrant(t, url), class, 0)
			if e := wantError(t, err, KindTransport, false); e.err != reasonRefused {
				t.Errorf("error = %v, want %q in it", e, reasonRefused)
			}
		}
	})
	t.Run("TLS abort", func(t *testing.T) {
		// ATK-T20: the connection dies in the handshake, twice.
		for name, class := range grants {
			t.Run(name, func(t *testing.T) {
				url, conns := listen(t, func(_ int, p *peer) {
					_, _ = p.Read(make([]byte, 5)) // some of the ClientHello
					reset(p)
				})
				_, err := loopback(t, Config{}).Do(newGrant(t, "https"+url[len("http"):]), class, 0)
				wantError(t, err, KindTransport, false)
				if n := conns.Load(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
			})
		}
	})
}
