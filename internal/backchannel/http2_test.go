package backchannel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHTTP2(t *testing.T) {
	url, c, conns := listenH2(t, func(_ int, p *h2peer) {
		for {
			stream, err := p.request()
			if err != nil {
				return
			}
			p.answer(stream, "ok")
		}
	})
	for _, class := range []Class{OneTimeGrant, RefreshGrant, Idempotent} {
		resp, err := c.Do(newRequest(t, class, url), class, 0)
		wantBody(t, resp, err, 200, "ok")
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestHTTP2Faults(t *testing.T) {
	// ATK-T32: the stream or connection is taken away, in each of the ways in
	// which net/http would send the request again if it could. Even where the
	// server vouches that it did nothing, the grant has left: it is in doubt.
	resetWith := func(code uint32) func(*h2peer, uint32) {
		return func(p *h2peer, s uint32) { _ = p.write(frameReset, 0, s, be32(code)) }
	}
	goAway := func(code uint32) func(*h2peer, uint32) {
		return func(p *h2peer, _ uint32) { _ = p.write(frameGoAway, 0, 0, append(be32(0, code), "CANARY"...)) }
	}
	for _, tt := range []struct {
		name  string
		fault func(p *h2peer, stream uint32)
	}{
		{"REFUSED_STREAM", resetWith(h2Refused)},
		{"PROTOCOL_ERROR", resetWith(h2Protocol)},
		{"CANCEL", resetWith(h2Cancel)},
		{"GOAWAY, not processed", goAway(h2NoError)},
		{"GOAWAY with an error", goAway(h2Calm)},
		{"GOAWAY, then gone", func(p *h2peer, s uint32) {
			_ = p.write(frameGoAway, 0, 0, be32(s, h2NoError))
			p.Close()
		}},
		{"gone", func(p *h2peer, _ uint32) { p.Close() }},
		{"garbage", func(p *h2peer, _ uint32) { io.WriteString(p, strings.Repeat("CANARY", 100)) }},
		{"reset inside the body", func(p *h2peer, s uint32) {
			p.head(s, 0, ":status", "200", "content-length", "9")
			_ = p.write(frameData, 0, s, []byte(`{"a"`))
			resetWith(h2Internal)(p, s)
		}},
		{"less than declared", func(p *h2peer, s uint32) {
			p.head(s, 0, ":status", "200", "content-length", "500")
			_ = p.write(frameData, flagEndStream, s, []byte(`{}`))
		}},
		{"no status", func(p *h2peer, s uint32) { p.head(s, flagEndStream, "x", "y") }},
		{"header name in capitals", func(p *h2peer, s uint32) { p.head(s, flagEndStream, ":status", "200", "X-CANARY", "y") }},
		{"header list bomb", func(p *h2peer, s uint32) {
			// A large entry in the dynamic table, then one byte for each copy.
			block := headerBlock(":status", "200", "x-bomb", strings.Repeat("x", 3900))
			block = append(block, bytes.Repeat([]byte{0x80 | 62}, 10_000)...)
			_ = p.write(frameHeaders, flagEndHeaders|flagEndStream, s, block)
		}},
		{"continuation without end", func(p *h2peer, s uint32) {
			_ = p.write(frameHeaders, flagEndStream, s, headerBlock(":status", "200"))
			for p.write(frameContinuation, 0, s, headerBlock("x", strings.Repeat("y", 1000))) == nil {
			}
		}},
		{"frame larger than allowed", func(p *h2peer, s uint32) {
			p.head(s, 0, ":status", "200")
			_ = p.write(frameData, flagEndStream, s, make([]byte, 1<<20))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, class := range grants {
				t.Run(name, func(t *testing.T) {
					var requests atomic.Int32
					url, c, _ := listenH2(t, func(_ int, p *h2peer) {
						for {
							stream, err := p.request()
							if err != nil {
								return
							}
							requests.Add(1)
							tt.fault(p, stream)
						}
					})
					_, err := c.Do(newGrant(t, url), class, 0)
					wantError(t, err, KindTransport, true)
					if n := requests.Load(); n != 1 {
						t.Errorf("the grant was sent %d times", n)
					}
				})
			}
		})
	}
}

// The counterpart: an idempotent call survives a stream that was refused. It
// shows that the test above could fail.
func TestHTTP2RefusedStreamOfAnIdempotentCall(t *testing.T) {
	var requests atomic.Int32
	url, c, _ := listenH2(t, func(_ int, p *h2peer) {
		for {
			stream, err := p.request()
			if err != nil {
				return
			}
			if requests.Add(1) == 1 {
				_ = p.write(frameReset, 0, stream, be32(h2Refused))
			} else {
				p.answer(stream, "ok")
			}
		}
	})
	resp, err := c.Do(newGet(t, url), Idempotent, 0)
	wantBody(t, resp, err, 200, "ok")
}

func TestHTTP2Floods(t *testing.T) {
	// ATK-T32: a thousand frames that want an answer each are answered, and the
	// call goes on.
	for name, flood := range map[string]func(p *h2peer) error{
		"SETTINGS": func(p *h2peer) error { return p.settings(settingWindow, 65535) },
		"PING":     func(p *h2peer) error { return p.write(framePing, 0, 0, make([]byte, 8)) },
	} {
		t.Run(name, func(t *testing.T) {
			url, c, _ := listenH2(t, func(_ int, p *h2peer) {
				stream, err := p.request()
				if err != nil {
					return
				}
				var reader sync.WaitGroup
				reader.Go(p.drain) // the acknowledgements
				for range 1000 {
					if flood(p) != nil {
						break
					}
				}
				p.answer(stream, "ok")
				reader.Wait()
			})
			resp, err := c.Do(newGrant(t, url), OneTimeGrant, 0)
			wantBody(t, resp, err, 200, "ok")
			c.CloseIdleConnections()
		})
	}
}

func TestHTTP2HugeBody(t *testing.T) {
	// ATK-T04: over HTTP/2, with no length declared.
	url, c, _ := listenH2(t, func(_ int, p *h2peer) {
		stream, err := p.request()
		if err != nil {
			return
		}
		p.head(stream, 0, ":status", "200")
		for range 100 { // as far as the window of a stream allows
			if p.write(frameData, 0, stream, make([]byte, 2000)) != nil {
				return
			}
		}
		p.drain()
	})
	_, err := c.Do(newGrant(t, url), OneTimeGrant, 10_000)
	wantError(t, err, KindTooLarge, true)
	c.CloseIdleConnections()
}

// What the client promises to take ahead of being read is small.
func TestHTTP2Windows(t *testing.T) {
	type announced struct {
		settings map[uint16]uint32
		window   uint32
	}
	got := make(chan announced, 1)
	url, c, _ := listenH2(t, func(_ int, p *h2peer) {
		a := announced{settings: map[uint16]uint32{}}
		for a.window == 0 {
			f, err := p.read()
			if err != nil {
				return
			}
			switch f.kind {
			case frameSettings:
				for b := f.payload; len(b) >= 6; b = b[6:] {
					a.settings[binary.BigEndian.Uint16(b)] = binary.BigEndian.Uint32(b[2:])
				}
			case frameWindow:
				a.window = binary.BigEndian.Uint32(f.payload)
			}
		}
		got <- a
		if stream, err := p.request(); err == nil {
			p.answer(stream, "ok")
		}
		p.drain()
	})
	resp, err := c.Do(newGrant(t, url), OneTimeGrant, 0)
	wantBody(t, resp, err, 200, "ok")
	a := <-got
	c.CloseIdleConnections()
	for id, most := range map[uint16]uint32{settingPush: 0, settingWindow: 256 << 10, settingHeaderList: 64<<10 + 4096} {
		if v, ok := a.settings[id]; !ok || v > most {
			t.Errorf("setting %d = %d (%v), want at most %d", id, v, ok, most)
		}
	}
	if a.window > 1<<20 {
		t.Errorf("the window of the connection grows by %d", a.window)
	}
}

// net/http picks HTTP/2 by itself where the server has it.
func TestHTTP2IsNegotiated(t *testing.T) {
	cert, pool := certificate(t, time.Now().Add(time.Hour), "127.0.0.1")
	srv := tlsServer(t, cert, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }, nil)
	resp, err := loopback(t, Config{RootCAs: pool}).Do(newGrant(t, srv.URL), OneTimeGrant, 0)
	wantBody(t, resp, err, 200, "HTTP/2.0")
}
