package authtest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
)

// bothWays runs a test over a socket and over Transport.
func bothWays(t *testing.T, f func(t *testing.T, g *rig)) {
	t.Run("socket", func(t *testing.T) { f(t, newWire(t, authtest.Config{})) })
	t.Run("transport", func(t *testing.T) { f(t, newRig(t, authtest.Config{})) })
}

func TestDrop(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		for wire, spent := range map[authtest.Wire]bool{authtest.DropBefore: false, authtest.DropAfter: true} {
			tokens := g.logIn()
			before := g.as.Requests(authtest.Token)
			g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Wire: wire})
			resp, err := g.http.Do(g.postRequest("token", refreshForm(tokens["refresh_token"])))
			if err == nil {
				t.Fatalf("%s: %d", wire, resp.StatusCode)
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", wire, err)
			}
			if n := g.as.Requests(authtest.Token) - before; n != 1 {
				t.Errorf("%s: %d requests", wire, n)
			}
			g.active(tokens["refresh_token"], !spent)
		}
	})
}

func TestTruncate(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.Truncate})
		resp, err := g.http.Get(g.endpoint("jwks"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || int64(len(body)) >= resp.ContentLength || resp.StatusCode != 200 {
			t.Errorf("%d of %d bytes, %v", len(body), resp.ContentLength, err)
		}
	})
}

func TestLyingContentLength(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		for length, want := range map[string]string{"10000000000": "{}", "1": "{"} {
			stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Answer: &authtest.Response{
				Header: http.Header{"Content-Length": {length}}, Body: []byte("{}"),
			}})
			resp, err := g.http.Get(g.endpoint("jwks"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != want || strconv.FormatInt(resp.ContentLength, 10) != length || errors.Is(err, io.ErrUnexpectedEOF) != (len(length) > 1) {
				t.Errorf("%s: %q of %d, %v", length, body, resp.ContentLength, err)
			}
			stop()
		}
	})
}

func TestEndless(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.Endless})
		resp, err := g.http.Get(g.endpoint("jwks"))
		if err != nil {
			t.Fatal(err)
		}
		if resp.ContentLength != -1 {
			t.Errorf("Content-Length %d", resp.ContentLength)
		}
		head, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		_ = resp.Body.Close()
		if err != nil || len(head) != 4<<20 || !bytes.HasPrefix(head, []byte(`{"keys":`)) || !bytes.HasSuffix(head, []byte("  ")) {
			t.Errorf("%d bytes, %v", len(head), err)
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("the body can be read after Close")
		}
	})
}

func TestGzipBomb(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.GzipBomb})
		resp, body := g.get(g.endpoint("jwks"))
		if resp.Header.Get("Content-Encoding") != "gzip" || len(body) < 5<<20 || len(body) > 20<<20 {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, io.LimitReader(z, 8<<20)); err != nil || n != 8<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		if _, err := z.Read(make([]byte, 1)); err != nil {
			t.Errorf("that was all: %v", err)
		}
	})
}

// arrivals gives a fault's When, and a channel that tells of requests.
func arrivals() (when func(*authtest.Request) bool, arrived <-chan struct{}) {
	c := make(chan struct{}, 10)
	return func(*authtest.Request) bool { c <- struct{}{}; return true }, c
}

func TestStall(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		for wire, spent := range map[authtest.Wire]bool{authtest.StallBefore: false, authtest.StallAfter: true} {
			tokens := g.logIn()
			when, arrived := arrivals()
			gate := make(chan struct{})
			acted := make(chan struct{}, 1)
			stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, When: when, Wire: wire, Gate: gate,
				Response: func(*authtest.Request, *authtest.Response) { acted <- struct{}{} }})
			r := g.postRequest("token", refreshForm(tokens["refresh_token"]))
			answered := make(chan int)
			go func() {
				resp, err := g.http.Do(r)
				if err != nil {
					t.Error(err)
					close(answered)
					return
				}
				_ = resp.Body.Close()
				answered <- resp.StatusCode
			}()
			<-arrived
			if spent {
				<-acted
			}
			g.active(tokens["refresh_token"], !spent)
			select {
			case <-answered:
				t.Errorf("%s: answered before the gate opened", wire)
			default:
			}
			close(gate)
			if status := <-answered; status != 200 {
				t.Errorf("%s: %d", wire, status)
			}
			g.active(tokens["refresh_token"], false)
			stop()
		}
	})
}

func TestStallUntilTheClientGoesAway(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		for wire, spent := range map[authtest.Wire]bool{authtest.StallBefore: false, authtest.StallAfter: true} {
			tokens := g.logIn()
			when, arrived := arrivals()
			acted := make(chan struct{}, 1)
			stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, When: when, Wire: wire,
				Response: func(*authtest.Request, *authtest.Response) { acted <- struct{}{} }})
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			r := g.postRequest("token", refreshForm(tokens["refresh_token"])).WithContext(ctx)
			go func() {
				_, err := g.http.Do(r)
				failed <- err
			}()
			<-arrived
			if spent {
				<-acted
			}
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", wire, err)
			}
			stop()
			g.active(tokens["refresh_token"], !spent)
		}
	})
}

func TestStallBody(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		gate := make(chan struct{}, 1)
		stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallBody, Gate: gate})
		resp, err := g.http.Get(g.endpoint("jwks"))
		if err != nil {
			t.Fatal(err)
		}
		half := make([]byte, 10)
		if _, err := io.ReadFull(resp.Body, half); err != nil {
			t.Fatal(err)
		}
		gate <- struct{}{}
		rest, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		object(t, append(half, rest...))
		stop()

		g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.StallBody})
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", g.endpoint("jwks"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err = g.http.Do(r); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, half); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		_ = resp.Body.Close()
	})
}

func TestDrip(t *testing.T) {
	bothWays(t, func(t *testing.T, g *rig) {
		open := make(chan struct{})
		close(open)
		stop := g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.Drip, Gate: open})
		resp, body := g.get(g.endpoint("jwks"))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		object(t, body)
		stop()
	})
}

func TestDripHoldsTheHeaderBack(t *testing.T) {
	g := newWire(t, authtest.Config{})
	gate := make(chan struct{})
	g.as.Misbehave(authtest.Fault{Wire: authtest.Drip, Gate: gate})
	address := strings.TrimPrefix(g.as.Issuer(), "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET /jwks HTTP/1.1\r\nHost: " + address + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 1)
	for _, want := range []byte("HTTP/1.1 200 OK\r\n") {
		gate <- struct{}{}
		if _, err := io.ReadFull(conn, line); err != nil || line[0] != want {
			t.Fatalf("%q, want %q: %v", line, want, err)
		}
	}
	_ = conn.Close() // and the server notices, or Close of the rig would hang
	g.as.Close()
}

func TestDripInTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, err := authtest.New(authtest.Config{Issuer: "https://as.example"})
		if err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Wire: authtest.Drip, Gate: gate})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", "https://as.example/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := as.Transport().RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range 3 {
				time.Sleep(time.Second)
				gate <- struct{}{}
			}
		}()
		start := time.Now()
		body, err := io.ReadAll(resp.Body)
		if string(body) != `{"k` || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%q %v after %v", body, err, time.Since(start))
		}
	})
}

func TestStallsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as, err := authtest.New(authtest.Config{Issuer: "https://as.example"})
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: as.Transport(), Timeout: 10 * time.Second}
		for _, wire := range []authtest.Wire{authtest.StallBefore, authtest.StallAfter, authtest.StallBody, authtest.Drip} {
			stop := as.Misbehave(authtest.Fault{Wire: wire})
			start := time.Now()
			resp, err := client.Get("https://as.example/jwks")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || time.Since(start) != 10*time.Second {
				t.Errorf("%s: %v after %v", wire, err, time.Since(start))
			}
			stop()
		}
	})
}

func TestInformational(t *testing.T) {
	g := newWire(t, authtest.Config{})
	g.as.Misbehave(authtest.Fault{Endpoint: authtest.JWKS, Answer: &authtest.Response{
		Informational: []int{103, 103, 102}, Status: 204,
	}})
	var got []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		got = append(got, code)
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, "GET", g.endpoint("jwks"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, _ := g.do(r); resp.StatusCode != 204 || len(got) != 3 || got[0] != 103 || got[2] != 102 {
		t.Errorf("%d after %v", resp.StatusCode, got)
	}
}

func TestTwoDisturbances(t *testing.T) {
	g := newRig(t, authtest.Config{})
	g.as.Misbehave(
		authtest.Fault{Endpoint: authtest.JWKS, JSON: func(m map[string]any) { m["x"] = 1 }},
		authtest.Fault{Endpoint: authtest.JWKS, Times: 1, Wire: authtest.DropAfter},
		authtest.Fault{Endpoint: authtest.JWKS, Times: 2, Wire: authtest.Truncate},
	)
	if _, err := g.http.Get(g.endpoint("jwks")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("first: %v", err)
	}
	resp, err := g.http.Get(g.endpoint("jwks"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("second: %v", err)
	}
	if _, body := g.get(g.endpoint("jwks")); object(t, body)["x"] != 1.0 {
		t.Errorf("third: %s", body)
	}
}

func TestRequestCutShort(t *testing.T) {
	g := newWire(t, authtest.Config{})
	address := strings.TrimPrefix(g.as.Issuer(), "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("POST /token HTTP/1.1\r\nHost: " + address + "\r\nContent-Length: 100\r\n\r\ngrant_type="))
	_ = conn.(*net.TCPConn).CloseWrite()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
		t.Errorf("answered %q", line)
	}
	_ = conn.Close()
	if n := g.as.Requests(""); n != 0 {
		t.Errorf("%d requests", n)
	}
}
