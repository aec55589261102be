package backchannel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
)

// Kind is what went wrong.
type Kind int

const (
	// KindTransport: no connection, or one that failed, or an answer that is
	// not HTTP or was cut short.
	KindTransport Kind = iota
	// KindTimeout: the deadline passed.
	KindTimeout
	// KindCanceled: the caller's context was cancelled.
	KindCanceled
	// KindRedirect: the answer was a redirect. It was not followed.
	KindRedirect
	// KindTooLarge: the body was larger than the caller allowed.
	KindTooLarge
	// KindEncoding: the body was compressed, though we asked that it not be.
	KindEncoding
	// KindAddress: the server's address is inside the network, and the
	// configuration does not allow that. Nothing was sent.
	KindAddress
	// KindTLS: no connection that can be trusted. Nothing was sent.
	KindTLS
	// KindRequest: the request cannot be sent as it is, a mistake in the
	// program. Nothing was sent.
	KindRequest
)

var kindTexts = [...]string{
	KindTransport: "connection failed",
	KindTimeout:   "deadline exceeded",
	KindCanceled:  "canceled",
	KindRedirect:  "redirect refused",
	KindTooLarge:  "answer too large",
	KindEncoding:  "answer is compressed",
	KindAddress:   "address not allowed",
	KindTLS:       "TLS failed",
	KindRequest:   "request cannot be sent",
}

// String returns a few words for people.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindTexts) {
		return "unknown failure"
	}
	return kindTexts[k]
}

// Error is why there is no answer. Its text consists of words of this package
// only. errors.Is finds context.Canceled and context.DeadlineExceeded in it, if
// that is what ended the call; nothing else of the cause is kept.
type Error struct {
	Kind Kind

	// InDoubt: the request may have reached the server, and no usable answer
	// came. A grant in it may have been spent.
	//
	// A refused redirect is never in doubt: it is an answer, and says that
	// whoever gave it did not process the call. An answer that was refused for
	// its size or encoding is in doubt if its status was 2xx.
	InDoubt bool

	// Status is the status of the answer, if one began; else 0.
	Status int

	err error // a context error, a reason, or nil
}

func (e *Error) Error() string {
	s := "backchannel: " + e.Kind.String()
	if r, ok := e.err.(reason); ok {
		s += ": " + string(r)
	}
	if e.InDoubt {
		s += " (the server may have processed the request)"
	}
	return s
}

// Unwrap returns context.Canceled, context.DeadlineExceeded, or an error without
// further meaning, or nil.
func (e *Error) Unwrap() error { return e.err }

// reason narrows a Kind down for whoever reads the log.
type reason string

func (r reason) Error() string { return string(r) }

const (
	reasonRefused   = reason("connection refused")
	reasonReset     = reason("connection reset")
	reasonEnded     = reason("connection ended early")
	reasonRoute     = reason("no route to the host")
	reasonName      = reason("host name not found")
	reasonResolver  = reason("host name lookup failed")
	reasonAuthority = reason("certificate from an unknown authority")
	reasonHostname  = reason("certificate for another host name")
	reasonExpired   = reason("certificate expired or not yet valid")
	reasonPlain     = reason("server does not speak TLS")
)

func contextError(err error, inDoubt bool) *Error {
	if errors.Is(err, context.Canceled) {
		return &Error{Kind: KindCanceled, InDoubt: inDoubt, err: context.Canceled}
	}
	return &Error{Kind: KindTimeout, InDoubt: inDoubt, err: context.DeadlineExceeded}
}

// failure makes an *Error of what a transport returned. err may be nil: a broken
// transport may return neither answer nor error.
func (c *Client) failure(ctx context.Context, call *call, err error) *Error {
	if cerr := ctx.Err(); cerr != nil {
		return contextError(cerr, !call.notSent(true))
	}
	marks := call.marks.Load()
	switch {
	case errors.Is(err, errAddress):
		return &Error{Kind: KindAddress}
	case c.own && marks&markTraced == 0:
		// Our transport asks for a connection before all else, except for
		// looking at the request.
		return &Error{Kind: KindRequest}
	}
	e := &Error{Kind: KindTransport, InDoubt: !call.notSent(false)}
	if r := tlsReason(err); marks&(markTraced|markConnected) == markTraced && (r != "" || marks&markTLS != 0) {
		e.Kind = KindTLS
		if r != "" {
			e.err = r
		}
		return e
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		e.Kind = KindTimeout
		return e
	}
	if r := ioReason(err); r != "" {
		e.err = r
	}
	return e
}

// tlsReason returns why a certificate or a handshake was refused, or "".
func tlsReason(err error) reason {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return reasonAuthority
	case errors.As(err, &hostname):
		return reasonHostname
	case errors.As(err, &invalid):
		if invalid.Reason == x509.Expired {
			return reasonExpired
		}
		return reasonAuthority
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return reasonPlain
	}
	return ""
}

// ioReason returns how a connection failed, or "".
func ioReason(err error) reason {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return reasonName
		}
		return reasonResolver
	case errors.Is(err, syscall.ECONNREFUSED):
		return reasonRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return reasonReset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return reasonRoute
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return reasonEnded
	}
	return ""
}
