package logins

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Peer is a way to log a user in.
type Peer struct {
	Name string
	New  func(issuer string) (*Flow, error)
}

// Flow is a Peer that is ready: the handlers of an application.
type Flow struct {
	start, callback http.Handler
	startURL        string
	// done reports whether the answer to the callback says that somebody is logged in.
	done func(status int, body string, header http.Header) bool

	w response
}

// Login logs in once: the start, the browser's way to the authorization server and back, the callback.
func (f *Flow) Login(b *Browser) error {
	callback, cookies, err := f.begin(b)
	if err != nil {
		return err
	}
	if !f.finish(callback, cookies) {
		return fmt.Errorf("the callback answered %d: %s", f.w.status, f.w.body.String())
	}
	return nil
}

// begin returns the address that the authorization server sends the browser to and the browser's cookies.
func (f *Flow) begin(b *Browser) (callback, cookies string, err error) {
	f.w.reset()
	f.start.ServeHTTP(&f.w, request(f.startURL, ""))
	to := f.w.header.Get("Location")
	if to == "" {
		return "", "", fmt.Errorf("the start answered %d without a Location: %s", f.w.status, f.w.body.String())
	}
	cookies = cookieHeader(f.w.header)
	callback, err = b.follow(to)
	return callback, cookies, err
}

func (f *Flow) finish(callback, cookies string) bool {
	f.w.reset()
	f.callback.ServeHTTP(&f.w, request(callback, cookies))
	return f.done(f.w.status, f.w.body.String(), f.w.header)
}

// said is the done of handlers that answer with the subject.
func said(status int, body string, _ http.Header) bool {
	return status == http.StatusOK && body == subject
}

func request(u, cookies string) *http.Request {
	p, err := url.Parse(u)
	if err != nil {
		p = new(url.URL)
	}
	r := &http.Request{Method: "GET", URL: &url.URL{Path: p.Path, RawQuery: p.RawQuery}, Host: p.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	if cookies != "" {
		r.Header["Cookie"] = []string{cookies}
	}
	return r.WithContext(context.Background())
}

func cookieHeader(h http.Header) string {
	var b strings.Builder
	for _, line := range h["Set-Cookie"] {
		pair, attributes, _ := strings.Cut(line, ";")
		if strings.Contains(attributes, "Max-Age=0") {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(pair)
	}
	return b.String()
}

// response is a ResponseWriter that is used again and again.
type response struct {
	header http.Header
	status int
	body   strings.Builder
}

func (w *response) reset() {
	if w.header == nil {
		w.header = http.Header{}
	}
	clear(w.header)
	w.status = http.StatusOK
	w.body.Reset()
}

func (w *response) Header() http.Header         { return w.header }
func (w *response) WriteHeader(status int)      { w.status = status }
func (w *response) Write(p []byte) (int, error) { return w.body.Write(p) }

// Browser is a kept connection to the authorization server, written by hand: it costs little and
// the same for all.
type Browser struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// NewBrowser connects to the issuer's host.
func NewBrowser(issuer string) (*Browser, error) {
	c, err := net.Dial("tcp", strings.TrimPrefix(issuer, "http://"))
	if err != nil {
		return nil, err
	}
	return &Browser{conn: c, in: bufio.NewReader(c)}, nil
}

// Close ends the connection.
func (b *Browser) Close() { _ = b.conn.Close() }

// follow opens an address of the authorization server and returns where its answer leads.
func (b *Browser) follow(u string) (string, error) {
	_, rest, _ := strings.Cut(u, "://")
	host, path, _ := strings.Cut(rest, "/")
	b.out = append(append(append(append(b.out[:0], "GET /"...), path...), " HTTP/1.1\r\nHost: "...), host...)
	b.out = append(b.out, "\r\n\r\n"...)
	if _, err := b.conn.Write(b.out); err != nil {
		return "", err
	}
	location, length := "", 0
	for {
		line, err := b.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if name == "" {
			break
		}
		switch {
		case ok && name == "Location":
			location = value
		case ok && name == "Content-Length":
			if length, err = strconv.Atoi(value); err != nil {
				return "", err
			}
		}
	}
	if _, err := io.CopyN(io.Discard, b.in, int64(length)); err != nil {
		return "", err
	}
	if location == "" {
		return "", fmt.Errorf("the authorization server sends the browser nowhere")
	}
	return location, nil
}
