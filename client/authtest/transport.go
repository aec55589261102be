package authtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"syscall"
)

// Transport reaches the server without a socket: it hands requests to the
// handler and gives back what it answers, the faults of the wire included. It
// ends with the request's context, also in the middle of a stalled body, and
// starts nothing that a testing/synctest bubble could not hold. Requests to any
// other origin than the issuer's fail as an unknown host does. It neither asks
// for nor undoes compression, and reports to net/http/httptrace whether a request
// was written (the connection it tells of is nil).
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = &httptrace.ClientTrace{}
	}
	if trace.GetConn != nil {
		trace.GetConn(r.URL.Host)
	}
	if r.URL.Scheme+"://"+r.URL.Host != t.s.origin {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}}
	}
	if t.s.network.unplugged() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%w: %w", errRefused, syscall.ECONNREFUSED)}
	}
	in, err := inbound(r)
	if err != nil {
		return nil, err
	}
	wrote(trace)
	// In a goroutine of its own, because a hook may block: the client's
	// context ends the call, not what the server does about it.
	done := make(chan *outcome, 1)
	go func() {
		out := t.s.handle(in, nil)
		if out.wire == StallAfter && !out.pass(ctx, nil) {
			out = &outcome{wire: DropAfter}
		}
		done <- out
	}()
	select {
	case out := <-done:
		if trace.GotFirstResponseByte != nil && out.wire != DropBefore && out.wire != DropAfter {
			trace.GotFirstResponseByte()
		}
		return out.answer(r)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wrote tells a trace that the request is on its way: clients decide by it
// whether a request that failed may be sent again.
func wrote(trace *httptrace.ClientTrace) {
	if trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	if trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// inbound is the request as a server would see it. The body is read here: it
// belongs to the caller again when RoundTrip returns.
func inbound(r *http.Request) (*http.Request, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.Body = http.NoBody
	if r.Body != nil {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
		if err != nil {
			return nil, err
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
	}
	return in, nil
}

// answer turns an outcome into what an http.RoundTripper returns.
func (o *outcome) answer(r *http.Request) (*http.Response, error) {
	if o.wire == DropBefore || o.wire == DropAfter {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	body := o.response.Body
	resp := &http.Response{
		Status:     strconv.Itoa(o.response.Status) + " " + http.StatusText(o.response.Status),
		StatusCode: o.response.Status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        o.response.Header,
		ContentLength: int64(len(body)),
		Request:       r,
	}
	pass := func() bool { return o.pass(r.Context(), nil) }
	var reader io.Reader
	switch o.wire {
	case StallBody:
		reader = &gated{head: half(body), rest: body[len(half(body)):], step: len(body), pass: pass, ctx: r.Context()}
	case Drip:
		reader = &gated{rest: body, step: 1, pass: pass, ctx: r.Context()}
	case Truncate:
		resp.ContentLength = int64(len(body) + 1)
		reader = io.MultiReader(bytes.NewReader(half(body)), failing{io.ErrUnexpectedEOF})
	case Endless:
		resp.ContentLength = -1
		reader = io.MultiReader(bytes.NewReader(body), &repeating{chunk: filler, left: -1})
	case GzipBomb:
		resp.ContentLength = -1
		resp.Header.Set("Content-Encoding", "gzip")
		reader = &repeating{chunk: bombMember(), left: bombMembers}
	default:
		reader = bytes.NewReader(body)
		// A fault may have announced another length.
		if n, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
			resp.ContentLength = n
			if n <= int64(len(body)) {
				reader = bytes.NewReader(body[:n])
			} else {
				reader = io.MultiReader(reader, failing{io.ErrUnexpectedEOF})
			}
		}
	}
	if r.Method == http.MethodHead {
		reader = bytes.NewReader(nil)
	}
	if resp.ContentLength >= 0 && resp.Header.Get("Content-Length") == "" {
		resp.Header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	resp.Body = &cancelable{ctx: r.Context(), Reader: reader}
	return resp, nil
}

// cancelable ends with the request's context, as a real body does.
type cancelable struct {
	ctx context.Context
	io.Reader
	closed bool
}

func (c *cancelable) Read(p []byte) (int, error) {
	if c.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func (c *cancelable) Close() error {
	c.closed = true
	return nil
}

// gated gives head at once and then step bytes of rest each time the gate opens.
type gated struct {
	head, rest []byte
	step       int
	pass       func() bool
	ctx        context.Context
}

func (g *gated) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(g.head) == 0 {
		if len(g.rest) == 0 {
			return 0, io.EOF
		}
		if !g.pass() {
			return 0, g.ctx.Err()
		}
		n := min(g.step, len(g.rest))
		g.head, g.rest = g.rest[:n], g.rest[n:]
	}
	n := copy(p, g.head)
	g.head = g.head[n:]
	return n, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// repeating gives chunk over and over: left times, or without end if negative.
type repeating struct {
	chunk  []byte
	offset int
	left   int
}

func (r *repeating) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.chunk[r.offset:])
	if r.offset += n; r.offset == len(r.chunk) {
		r.offset = 0
		if r.left > 0 {
			r.left--
		}
	}
	return n, nil
}
