package backchannel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

func TestRequestOnTheWire(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, name := range []string{"User-Agent", "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Content-Length", "Cookie"} {
			fmt.Fprintf(w, "%s=%q\n", name, r.Header[name])
		}
		fmt.Fprintf(w, "%s %d %s", r.Method, r.ContentLength, body)
	}))
	defer srv.Close()
	c := loopback(t, Config{})

	resp, err := c.Do(newGrant(t, srv.URL), OneTimeGrant, 0)
	want := fmt.Sprintf("User-Agent=[\"sallyport\"]\nAccept=[\"application/json\"]\nAccept-Encoding=[\"identity\"]\n"+
		"Authorization=[\"Basic SECRET-CANARY\"]\nContent-Type=[\"application/x-www-form-urlencoded\"]\n"+
		"Content-Length=[\"%d\"]\nCookie=[]\nPOST %d %s", len(grantBody), len(grantBody), grantBody)
	wantBody(t, resp, err, 200, want)

	// A request's own Accept is kept; compression is never asked for.
	req := newGet(t, srv.URL)
	req.Header = http.Header{"Accept": {"application/jwt"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"other"}}
	before := req.Header.Clone()
	resp, err = c.Do(req, Idempotent, 0)
	wantBody(t, resp, err, 200, "User-Agent=[\"sallyport\"]\nAccept=[\"application/jwt\"]\nAccept-Encoding=[\"identity\"]\n"+
		"Authorization=[]\nContent-Type=[]\nContent-Length=[]\nCookie=[]\nGET 0 ")
	if !reflect.DeepEqual(req.Header, before) {
		t.Errorf("the caller's headers were changed: %v", req.Header)
	}

	req = newGet(t, srv.URL)
	req.Header = nil
	if resp, err = c.Do(req, Idempotent, 0); err != nil || !strings.Contains(string(resp.Body), `Accept=["application/json"]`) {
		t.Errorf("without headers: %v, %v", resp, err)
	}
}

func TestNoCookies(t *testing.T) {
	// ATK-T29: what one call is given, the next does not send.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "1", Path: "/"})
		fmt.Fprint(w, r.Header["Cookie"])
	}))
	defer srv.Close()
	c := loopback(t, Config{})
	for range 3 {
		resp, err := c.Do(newGrant(t, srv.URL), OneTimeGrant, 0)
		wantBody(t, resp, err, 200, "[]")
	}
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	get := func(t *testing.T) *http.Request { return newGet(t, "https://as.example/token") }
	grant := func(change func(*http.Request)) func(*testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			req := newGrant(t, "https://as.example/token")
			change(req)
			return req
		}
	}
	for _, tt := range []struct {
		name string
		req  func(*testing.T) *http.Request
	}{
		// What net/http might repeat by itself.
		{"GET", get},
		{"PUT", grant(func(r *http.Request) { r.Method = http.MethodPut })},
		{"no method", grant(func(r *http.Request) { r.Method = "" })},
		{"no body", grant(func(r *http.Request) { r.Body, r.ContentLength = nil, 0 })},
		{"NoBody", grant(func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 })},
		{"empty body", grant(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), 0 })},
		{"Idempotency-Key", grant(func(r *http.Request) { r.Header.Set("Idempotency-Key", "1") })},
		{"idempotency-key", grant(func(r *http.Request) { r.Header["idempotency-key"] = nil })},
		{"X-Idempotency-Key", grant(func(r *http.Request) { r.Header.Set("X-Idempotency-Key", "1") })},
		// What is broken.
		{"shorter than declared", grant(func(r *http.Request) { r.ContentLength++ })},
		{"longer than declared", grant(func(r *http.Request) { r.ContentLength-- })},
		{"body fails", grant(func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(errors.New("CANARY"))) })},
		{"body without end", grant(func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(endless{}), -1 })},
		{"no URL", grant(func(r *http.Request) { r.URL = nil })},
		{"no host", grant(func(r *http.Request) { r.URL.Host, r.Host = "", "" })},
		{"another scheme", grant(func(r *http.Request) { r.URL.Scheme = "file" })},
		{"bad header", grant(func(r *http.Request) { r.Header.Set("X", "CANARY\r\nY: z") })},
		{"bad header name", grant(func(r *http.Request) { r.Header["CANARY\r\n"] = []string{"x"} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n network
			c := n.client(t, Config{})
			_, err := c.Do(tt.req(t), OneTimeGrant, 0)
			wantError(t, err, KindRequest, false)
			if n.dials.Load() != 0 {
				t.Error("a connection was made")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// closeSpy notices that a body was closed.
type closeSpy struct {
	io.Reader
	closed bool
}

func (c *closeSpy) Close() error { c.closed = true; return nil }

func TestBodiesAreClosed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer *http.Response
	}{
		{"answer", inMemory(200, "ok")},
		{"redirect", inMemory(302, "x")},
		{"encoded", inMemory(200, "x", "Content-Encoding: gzip")},
		{"too large", inMemory(200, strings.Repeat("x", 101))},
		{"switching protocols", inMemory(101, "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := newGrant(t, "https://as.example/token")
			sent := &closeSpy{Reader: req.Body}
			req.Body = sent
			received := &closeSpy{Reader: tt.answer.Body}
			tt.answer.Body = received
			_, _ = New(Config{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
				return tt.answer, nil
			})}).Do(req, OneTimeGrant, 100)
			if !sent.closed || !received.closed {
				t.Errorf("request body closed: %v, answer's: %v", sent.closed, received.closed)
			}
		})
	}
}

func TestCallersTraceIsKept(t *testing.T) {
	url, _ := listen(t, func(_ int, p *peer) {
		if _, _, err := p.request(); err == nil {
			p.answer(200, "ok")
		}
	})
	var wrote atomic.Int32
	req := newGrant(t, url)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteHeaders: func() { wrote.Add(1) }}))
	resp, err := loopback(t, Config{}).Do(req, OneTimeGrant, 0)
	wantBody(t, resp, err, 200, "ok")
	if wrote.Load() != 1 {
		t.Errorf("the caller's hook was called %d times", wrote.Load())
	}
}

func TestConcurrentCalls(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	defer srv.Close()
	c := loopback(t, Config{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 10 {
				want := fmt.Appendf(nil, "code=%d-%d", i, j)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := c.Do(req, OneTimeGrant, 0)
				if err != nil || !bytes.Equal(resp.Body, want) {
					t.Errorf("answer %v, error %v", resp, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRequestWithoutACall(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a request that went past Do was sent")
		}
	}()
	_, _ = exchanger{New(Config{})}.RoundTrip(newGet(t, "https://as.example/x"))
}

// BenchmarkGrant compares a grant with the plain client on the same connection.
func BenchmarkGrant(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600}`)
	}))
	defer srv.Close()
	newPost := func() *http.Request {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL, strings.NewReader(grantBody))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req
	}
	b.Run("backchannel", func(b *testing.B) {
		c := loopback(b, Config{})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Do(newPost(), OneTimeGrant, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		c := &http.Client{Transport: loopback(b, Config{}).base, Timeout: defaultTimeout}
		b.ReportAllocs()
		for b.Loop() {
			resp, err := c.Do(newPost())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
}
