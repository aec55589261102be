package backchannel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// afterRequest is a network whose server reads one request and then does f.
func afterRequest(f func(p *peer)) *network {
	n := &network{}
	n.serve = func(_ int, p *peer) {
		if _, _, err := p.request(); err == nil {
			f(p)
		}
	}
	return n
}

func TestRedirectsAreRefused(t *testing.T) {
	// ATK-T08, ATK-U04: no redirect is followed, to wherever and whatever it
	// says, and nothing is sent again.
	for _, class := range []Class{OneTimeGrant, RefreshGrant, Idempotent} {
		for _, status := range []int{300, 301, 302, 303, 304, 307, 308, 399} {
			for name, location := range map[string]string{
				"elsewhere": "Location: https://evil.example/collect?CANARY",
				"same host": "Location: /other",
				"plain":     "Location: http://as.example/token",
				"unusable":  "Location: https://[CANARY",
				"nowhere":   "X-Nothing: 1",
			} {
				t.Run(fmt.Sprint(class, status, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var requests atomic.Int32
						n := afterRequest(func(p *peer) {
							requests.Add(1)
							p.answer(status, "", location)
						})
						req := newRequest(t, class, "http://as.example/x")
						req.Header.Set("Authorization", "Bearer AT-CANARY")
						_, err := n.client(t, Config{}).Do(req, class, 0)
						e := wantError(t, err, KindRedirect, false)
						if e.Status != status {
							t.Errorf("status %d, want %d", e.Status, status)
						}
						if requests.Load() != 1 || n.dials.Load() != 1 {
							t.Errorf("%d requests, %d dials, want 1, 1", requests.Load(), n.dials.Load())
						}
					})
				})
			}
		}
	}
}

// countingConn counts what the server managed to write.
type countingConn struct {
	io.Writer
	n int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

func TestHugeBody(t *testing.T) {
	// ATK-T04, ATK-D07, ATK-T06 (decoded size): the cap holds for every way to
	// frame a body, the connection is closed, and little more than the cap is
	// ever taken from it.
	const limit = 100_000
	block := bytes.Repeat([]byte("x"), 10_000)
	for _, tt := range []struct {
		name string
		head string
		most int64
	}{
		{"declared", "Content-Length: 10737418240\r\n", 16 << 10},
		{"declared just above", "Content-Length: 100001\r\n", 16 << 10},
		{"chunked without end", "Transfer-Encoding: chunked\r\n", limit + 64<<10},
		{"until close, without end", "Connection: close\r\n", limit + 64<<10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachGrant(t, func(t *testing.T, class Class) {
				var sent countingConn
				n := afterRequest(func(p *peer) {
					sent.Writer = p
					fmt.Fprintf(&sent, "HTTP/1.1 200 OK\r\n%s\r\n", tt.head)
					for {
						data := block
						if strings.Contains(tt.head, "chunked") {
							data = fmt.Appendf(nil, "%x\r\n%s\r\n", len(block), block)
						}
						if _, err := sent.Write(data); err != nil {
							return // the client closed the connection
						}
					}
				})
				_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, limit)
				if e := wantError(t, err, KindTooLarge, true); e.Status != 200 {
					t.Errorf("status %d", e.Status)
				}
				n.done.Wait()
				if sent.n > tt.most {
					t.Errorf("the client took %d bytes, want at most %d", sent.n, tt.most)
				}
			})
		})
	}
}

func TestBodySizes(t *testing.T) {
	big := strings.Repeat("x", maxBodyCap+1)
	for _, tt := range []struct {
		name    string
		size    int
		maxBody int64
		ok      bool
	}{
		{"empty", 0, 1, true},
		{"exactly the limit", 1000, 1000, true},
		{"one above", 1001, 1000, false},
		{"above the hint", maxHint + 500, 1 << 20, true},
		{"default", defaultBody, 0, true},
		{"above the default", defaultBody + 1, -1, false},
		{"hard maximum", maxBodyCap, 1 << 40, true},
		{"above the hard maximum", maxBodyCap + 1, 1 << 40, false},
	} {
		for _, declared := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, " declared ", declared), func(t *testing.T) {
				c := New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
					r := inMemory(200, big[:tt.size])
					if !declared {
						r.ContentLength = -1
					}
					return r, nil
				})})
				resp, err := c.Do(newGet(t, "https://as.example/x"), Idempotent, tt.maxBody)
				if !tt.ok {
					wantError(t, err, KindTooLarge, true)
					return
				}
				wantBody(t, resp, err, 200, big[:tt.size])
			})
		}
	}
}

// roomSpy notes how much room it is offered.
type roomSpy struct{ room int }

func (r *roomSpy) Read(p []byte) (int, error) {
	r.room = max(r.room, len(p))
	return 0, io.EOF
}

func TestDeclaredLengthReservesLittle(t *testing.T) {
	// ATK-T04: before the bytes come.
	var spy roomSpy
	if _, err := readAll(&spy, maxBodyCap, maxBodyCap); err != nil || spy.room > maxHint+1 {
		t.Errorf("room for %d bytes, error %v", spy.room, err)
	}
}

func TestRefusedAnswersAreInDoubtOnlyIfPositive(t *testing.T) {
	for status, inDoubt := range map[int]bool{200: true, 201: true, 299: true, 400: false, 503: false} {
		c := New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
			return inMemory(status, "12345"), nil
		})})
		_, err := c.Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 4)
		if e := wantError(t, err, KindTooLarge, inDoubt); e.Status != status {
			t.Errorf("status %d, want %d", e.Status, status)
		}
	}
}

func TestEncodingIsRefused(t *testing.T) {
	// ATK-T06: a compressed answer is refused without a look at its body.
	for _, tt := range []struct {
		headers []string
		refused bool
	}{
		{nil, false},
		{[]string{"Content-Encoding: "}, false},
		{[]string{"Content-Encoding: identity"}, false},
		{[]string{"Content-Encoding: Identity"}, false},
		{[]string{"Content-Encoding: identity, identity"}, false},
		{[]string{"Content-Encoding: gzip"}, true},
		{[]string{"Content-Encoding: GZIP"}, true},
		{[]string{"Content-Encoding: x-gzip"}, true},
		{[]string{"Content-Encoding: br"}, true},
		{[]string{"Content-Encoding: deflate"}, true},
		{[]string{"Content-Encoding: zstd"}, true},
		{[]string{"Content-Encoding: gzip, gzip"}, true},
		{[]string{"Content-Encoding: identity, gzip"}, true},
		{[]string{"Content-Encoding: identity", "Content-Encoding: gzip"}, true},
		{[]string{"Content-Encoding: CANARY"}, true},
	} {
		t.Run(strings.Join(tt.headers, "+"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := afterRequest(func(p *peer) { p.answer(200, "{}", tt.headers...) })
				resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), OneTimeGrant, 0)
				if tt.refused {
					wantError(t, err, KindEncoding, true)
				} else {
					wantBody(t, resp, err, 200, "{}")
				}
			})
		})
	}
}

func TestTruncatedBody(t *testing.T) {
	// ATK-T07: less than was promised is no answer, even if it is whole JSON.
	for name, answer := range map[string]string{
		"short":               "Content-Length: 500\r\n\r\n" + `{"access_token":"a","token_type":"Bearer"}`,
		"no last chunk":       "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"bad chunk":           "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n",
		"two lengths":         "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"negative length":     "Content-Length: -1\r\n\r\n{}",
		"unknown framing":     "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"nothing of the body": "Content-Length: 2\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachGrant(t, func(t *testing.T, class Class) {
				n := afterRequest(func(p *peer) { io.WriteString(p, "HTTP/1.1 200 OK\r\n"+answer) })
				resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
				if resp != nil {
					t.Errorf("answer %q", resp.Body)
				}
				wantError(t, err, KindTransport, true)
			})
		})
	}
}

func TestMoreThanDeclaredIsNotRead(t *testing.T) {
	// ATK-T07: what follows the declared length is not part of the answer, nor
	// of the next one.
	synctest.Test(t, func(t *testing.T) {
		n := afterRequest(func(p *peer) {
			p.answer(200, `{"a":1}`)
			p.answer(200, `{"smuggled":1}`)
		})
		c := n.client(t, Config{})
		for range 2 {
			resp, err := c.Do(newGet(t, "http://as.example/x"), Idempotent, 0)
			wantBody(t, resp, err, 200, `{"a":1}`)
			synctest.Wait()
		}
	})
}

func TestInformationalAnswers(t *testing.T) {
	t.Run("a few", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := afterRequest(func(p *peer) {
				io.WriteString(p, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 3))
				p.answer(200, "ok")
			})
			resp, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), OneTimeGrant, 0)
			wantBody(t, resp, err, 200, "ok")
		})
	})
	t.Run("without end", func(t *testing.T) {
		// ATK-T10: 100 and 103 for ever are cut off by the limit on headers.
		for _, line := range []string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"} {
			eachGrant(t, func(t *testing.T, class Class) {
				var sent countingConn
				n := afterRequest(func(p *peer) {
					sent.Writer = p
					for {
						if _, err := io.WriteString(&sent, line); err != nil {
							return
						}
					}
				})
				_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
				wantError(t, err, KindTransport, true)
				n.done.Wait()
				if sent.n > 256<<10 {
					t.Errorf("the client took %d bytes of informational answers", sent.n)
				}
			})
		}
	})
	t.Run("switching protocols", func(t *testing.T) {
		// ATK-T10: 101 was not asked for, and its body would never end.
		eachGrant(t, func(t *testing.T, class Class) {
			n := afterRequest(func(p *peer) {
				io.WriteString(p, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
				_, _ = p.r.ReadByte() // until the client hangs up
			})
			start := time.Now()
			_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
			wantError(t, err, KindTransport, true)
			if time.Since(start) != 0 {
				t.Error("waited for the body of a 101")
			}
		})
	})
}

func TestOddStatusesAreReturned(t *testing.T) {
	// ATK-T10: 2xx other than 200, and all errors, come back as they are; what
	// they mean is the caller's.
	for _, status := range []int{200, 201, 202, 204, 206, 299, 400, 401, 403, 404, 418, 500, 501, 599} {
		base, calls := busy([]int{status})
		resp, err := New(Config{Base: base}).Do(newGrant(t, "https://as.example/token"), OneTimeGrant, 0)
		wantBody(t, resp, err, status, "answer 1")
		if calls.Load() != 1 {
			t.Errorf("%d: %d calls", status, calls.Load())
		}
	}
}

func TestSlowServer(t *testing.T) {
	// ATK-T05, ATK-D07: one deadline for everything, however the time is spent.
	const byteBy = time.Second
	trickle := func(p *peer, s string, pause time.Duration) {
		for _, b := range []byte(s) {
			time.Sleep(pause)
			if _, err := p.Write([]byte{b}); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name  string
		serve func(p *peer)
	}{
		{"silent", func(p *peer) { _, _, _ = p.request() }},
		{"head byte by byte", func(p *peer) { trickle(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", byteBy) }},
		{"stall after the head", func(p *peer) {
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			_, _, _ = p.request()
		}},
		{"body byte by byte", func(p *peer) {
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			trickle(p, strings.Repeat("x", 100), 5*time.Second)
		}},
		{"informational, slowly", func(p *peer) {
			for range 60 {
				time.Sleep(time.Second)
				if _, err := io.WriteString(p, "HTTP/1.1 103 Early\r\n\r\n"); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachGrant(t, func(t *testing.T, class Class) {
				n := afterRequest(tt.serve)
				start := time.Now()
				_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
				wantError(t, err, KindTimeout, true)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("errors.Is does not find the deadline in %v", err)
				}
				if took := time.Since(start); took != defaultTimeout {
					t.Errorf("took %v, want %v", took, defaultTimeout)
				}
				if n.dials.Load() != 1 {
					t.Errorf("%d dials", n.dials.Load())
				}
			})
		})
	}
	t.Run("does not take the request", func(t *testing.T) {
		eachGrant(t, func(t *testing.T, class Class) {
			release := make(chan struct{})
			n := &network{serve: func(_ int, p *peer) { <-release }}
			_, err := n.client(t, Config{}).Do(newGrant(t, "http://as.example/token"), class, 0)
			close(release)
			wantError(t, err, KindTimeout, true)
		})
	})
	t.Run("in the handshake", func(t *testing.T) {
		// Nothing was sent, and the abandoned handshake ends by itself: the
		// bubble would not, were its goroutine left.
		eachGrant(t, func(t *testing.T, class Class) {
			n := &network{serve: func(_ int, p *peer) { _, _ = io.Copy(io.Discard, p) }}
			start := time.Now()
			_, err := n.client(t, Config{}).Do(newGrant(t, "https://as.example/token"), class, 0)
			wantError(t, err, KindTimeout, false)
			if took := time.Since(start); took != defaultTimeout {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("across attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := afterRequest(func(p *peer) { time.Sleep(4 * time.Second) }) // then hangs up
			start := time.Now()
			_, err := n.client(t, Config{}).Do(newGet(t, "http://as.example/keys"), Idempotent, 0)
			wantError(t, err, KindTimeout, true)
			if took := time.Since(start); took != defaultTimeout {
				t.Errorf("took %v, want %v", took, defaultTimeout)
			}
		})
	})
}

func TestDeadline(t *testing.T) {
	for _, tt := range []struct {
		name           string
		timeout, outer time.Duration
		want           time.Duration
	}{
		{"zero is ten seconds", 0, 0, 10 * time.Second},
		{"negative too", -1, 0, 10 * time.Second},
		{"shorter", 3 * time.Second, 0, 3 * time.Second},
		{"never above thirty", time.Hour, 0, 30 * time.Second},
		{"the caller's, if earlier", 0, 2 * time.Second, 2 * time.Second},
		{"ours, if earlier", 0, time.Minute, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := afterRequest(func(p *peer) { _, _, _ = p.request() })
				req := newGrant(t, "http://as.example/token")
				if tt.outer > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), tt.outer)
					defer cancel()
					req = req.WithContext(ctx)
				}
				start := time.Now()
				_, err := n.client(t, Config{Timeout: tt.timeout}).Do(req, OneTimeGrant, 0)
				wantError(t, err, KindTimeout, true)
				if took := time.Since(start); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
			})
		})
	}
}
