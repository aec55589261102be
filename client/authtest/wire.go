package authtest

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// outcome is an answer and how it is to be delivered.
type outcome struct {
	response *Response
	wire     Wire
	gate     <-chan struct{}
	delay    time.Duration // after which the gate opens by itself; 0: never
}

// pass waits at the gate. False: the client went away, or the server closed.
func (o *outcome) pass(ctx context.Context, closed <-chan struct{}) bool {
	// A gate that is open does not lose against a client that has gone.
	select {
	case <-o.gate:
		return true
	default:
	}
	var late <-chan time.Time
	if o.delay > 0 {
		t := time.NewTimer(o.delay)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-o.gate:
		return true
	case <-late:
		return true
	case <-ctx.Done():
	case <-closed:
	}
	return false
}

// hold waits for as long as the faults make a request take. False: the server closed.
func hold(faults []Fault, closed <-chan struct{}) bool {
	var d time.Duration
	for _, f := range faults {
		if !f.Wire.waits() {
			d += f.Delay
		}
	}
	if d == 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-closed:
		return false
	}
}

// half is what is sent of a body before the disturbance.
func half(body []byte) []byte { return body[:len(body)/2] }

var (
	filler = bytes.Repeat([]byte(" "), 32<<10)
	// bombMember is one gzip member, 1 MiB of zeros in 1 kB; a gzip file may
	// have any number of members (RFC 1952 §2.2).
	bombMember = sync.OnceValue(func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(make([]byte, 1<<20))
		_ = w.Close()
		return b.Bytes()
	})
)

const bombMembers = 10 << 10

// write delivers through net/http. It panics with http.ErrAbortHandler to hang up.
func (o *outcome) write(w http.ResponseWriter, r *http.Request, closed <-chan struct{}) {
	switch o.wire {
	case DropBefore, DropAfter:
		panic(http.ErrAbortHandler)
	case StallAfter:
		if !o.pass(r.Context(), closed) {
			panic(http.ErrAbortHandler)
		}
	case Drip:
		if o.dripRaw(w, r, closed) {
			return
		}
	}
	header := w.Header()
	for name, values := range o.response.Header {
		header[name] = values
	}
	for _, status := range o.response.Informational {
		w.WriteHeader(status)
	}
	body := o.response.Body
	if announced := header.Get("Content-Length"); announced == "" && len(body) > 0 {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	} else if n, err := strconv.Atoi(announced); err == nil && n < len(body) {
		body = body[:max(n, 0)] // net/http sends nothing at all of a body that is too long
	}
	switch o.wire {
	case Truncate:
		header.Set("Content-Length", strconv.Itoa(len(body)+1))
	case Endless:
		header.Del("Content-Length")
	case GzipBomb:
		header.Del("Content-Length")
		header.Set("Content-Encoding", "gzip")
	}
	w.WriteHeader(o.response.Status)
	flush := http.NewResponseController(w).Flush
	switch o.wire {
	case StallBody:
		_, _ = w.Write(half(body))
		_ = flush()
		if !o.pass(r.Context(), closed) {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body[len(half(body)):])
	case Drip:
		_ = flush()
		for i := range body {
			if !o.pass(r.Context(), closed) {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(body[i : i+1])
			_ = flush()
		}
	case Truncate:
		_, _ = w.Write(half(body))
		_ = flush()
		panic(http.ErrAbortHandler)
	case Endless:
		_, err := w.Write(body)
		for err == nil {
			_, err = w.Write(filler)
		}
		panic(http.ErrAbortHandler)
	case GzipBomb:
		for range bombMembers {
			if _, err := w.Write(bombMember()); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	default:
		_, _ = w.Write(body)
	}
}

// dripRaw takes the connection over to send even the header byte by byte, and
// reports whether it could.
func (o *outcome) dripRaw(w http.ResponseWriter, r *http.Request, closed <-chan struct{}) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	// After a takeover net/http no longer watches for the client to go away.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	var b bytes.Buffer
	header := o.response.Header.Clone()
	header.Set("Connection", "close")
	header.Set("Content-Length", strconv.Itoa(len(o.response.Body)))
	b.WriteString("HTTP/1.1 " + strconv.Itoa(o.response.Status) + " " + http.StatusText(o.response.Status) + "\r\n")
	_ = header.Write(&b)
	b.WriteString("\r\n")
	b.Write(o.response.Body)
	for i := range b.Bytes() {
		if !o.pass(ctx, closed) {
			return true
		}
		if _, err := conn.Write(b.Bytes()[i : i+1]); err != nil {
			return true
		}
	}
	return true
}
