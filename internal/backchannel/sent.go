package backchannel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// call is what is known about one call, carried in its context: the retry
// policy of go-retryablehttp is given the context and never the request.
type call struct {
	class   Class
	maxBody int64

	// How often the grant was sent again, and why. Only the goroutine that
	// makes the call uses them.
	resent, waited bool

	// marks of the current attempt. The goroutines of net/http set them.
	marks atomic.Uint32
	trace httptrace.ClientTrace
}

const (
	markTraced    uint32 = 1 << iota // the transport calls our hooks
	markConnected                    // the attempt has a connection
	markWritten                      // the head of the request was given to it
	markTLS                          // a handshake failed for a reason of TLS
)

type callKey struct{}

// withCall puts c into the context, and the hooks that tell what was sent.
func withCall(ctx context.Context, c *call) context.Context {
	c.trace = httptrace.ClientTrace{
		GetConn:          func(string) { c.mark(markTraced) },
		GotConn:          func(httptrace.GotConnInfo) { c.mark(markConnected) },
		WroteHeaders:     func() { c.mark(markWritten) },
		TLSHandshakeDone: c.handshakeDone,
	}
	return httptrace.WithClientTrace(context.WithValue(ctx, callKey{}, c), &c.trace)
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		// The context of every request comes from withCall.
		panic("backchannel: request without a call")
	}
	return c
}

func (c *call) mark(m uint32) { c.marks.Or(m) }

// begin starts an attempt. A hook of the attempt before that fires late can only
// make this one look sent when it was not.
func (c *call) begin() { c.marks.Store(0) }

func (c *call) handshakeDone(_ tls.ConnectionState, err error) {
	if err != nil && !ioFailure(err) {
		c.mark(markTLS)
	}
}

// ioFailure reports whether a handshake failed because the connection did, and
// not because the two sides disagreed.
func ioFailure(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return true
	}
	// crypto/tls uses this type for alerts as well.
	var op *net.OpError
	return errors.As(err, &op) && op.Op != "remote error" && op.Op != "local error"
}

// notSent reports whether the attempt that failed has provably not reached the
// server. interrupted says that its context has ended.
//
// The body, where a grant is, follows the head, and net/http marks the head as
// written when it hands it to its buffer, which is before it can be on the wire.
// So without that mark no server holds a complete head. A failed attempt leaves
// nobody behind who could still write, with one exception: when the context
// ends, net/http returns without waiting for the goroutine that writes. From the
// moment there is a connection, an interrupted attempt is in doubt.
func (c *call) notSent(interrupted bool) bool {
	m := c.marks.Load()
	switch {
	case m&markWritten != 0, m&markTraced == 0:
		return false
	case m&markConnected != 0:
		return !interrupted
	}
	return true
}
