// Package backchannel is the HTTP by which a client talks to its authorization
// server: the token endpoint, metadata, keys, userinfo, revocation.
//
// [Client.Do] sends one request and returns a whole, bounded answer or an
// [*Error]. The caller says what kind of call it is, a [Class], and
// that decides whether the request may be sent twice.
//
// # What holds for every call
//
//   - One deadline covers everything: retries and the waits between them,
//     connecting, TLS, the last byte of the body.
//   - The body is read completely, decoded by nobody, and never larger than the
//     caller allows. A body cut short is an error, not a shorter body.
//   - Redirects are not followed. A 307 would carry code, verifier and client
//     secret to wherever it points.
//   - There are no cookies, no proxy from the environment, and no connection to
//     an address inside the network unless the configuration allows it.
//   - An error says what happened and whether a grant may have been spent. It
//     holds no URL and no byte that the server chose.
//
// # When a grant is sent again
//
// An authorization code or a refresh token may be spent once, and a server that
// sees it twice may revoke everything it led to (RFC 6749 §4.1.2, RFC 9700
// §4.14.2). So a grant is repeated, once, only when it has provably not left:
// no connection was made, or the one at hand was closed before the head of the
// request was written to it. Anything later is in doubt, and the caller is told.
// net/http cannot repeat a grant either: it is given no means to rewind the body.
package backchannel

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Class says what a call is, and so when it may be sent again. A value that is
// none of the constants is treated as [OneTimeGrant].
type Class int

const (
	// OneTimeGrant is a call whose body holds something that may be used once:
	// an authorization code, a device code. Sent again, once, only if it was
	// provably not sent. Any answer is final.
	OneTimeGrant Class = iota

	// RefreshGrant is like OneTimeGrant, and is also sent again, once, after a
	// 429 or 503 that says in Retry-After when: the server says that it did not
	// process the call. The answer is returned instead if waiting would exceed
	// the deadline.
	RefreshGrant

	// Idempotent is a call that may be repeated: sent up to three times in all
	// if the transport fails or the answer is 429, 502, 503 or 504, as long as
	// the deadline allows.
	Idempotent
)

func (c Class) grant() bool { return c != Idempotent }

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 30 * time.Second

	defaultBody = 1 << 20
	maxBodyCap  = 2 << 20

	// maxRequest is far above any request of the protocol; the body is kept in
	// memory, so that it can be sent again.
	maxRequest = 1 << 20

	userAgent = "sallyport"
)

// Config is what a [Client] needs to know. The zero value is the strict choice.
type Config struct {
	// Base sends the requests. nil means a transport of the client's own, with
	// TLS 1.2 or later, verified certificates, no proxy, and a guard that
	// refuses addresses inside the network.
	//
	// With a Base, all of that is up to Base: RootCAs, AllowLoopback and
	// AllowPrivate have no effect, because only who opens the connection sees
	// the address. Deadline, body limit, redirects, encoding and retries remain
	// the client's. Base must honour the request's context, also while its body
	// is read, as [*http.Transport] does. If Base does not call the hooks of
	// [net/http/httptrace], every failure counts as in doubt.
	Base http.RoundTripper

	// RootCAs verifies the server's certificate; nil means the system's, which
	// SSL_CERT_FILE and SSL_CERT_DIR can replace on most systems.
	RootCAs *x509.CertPool

	// Timeout covers a whole call. Zero or less means 10 seconds; more than 30
	// seconds means 30.
	Timeout time.Duration

	// AllowLoopback permits connections to this machine.
	AllowLoopback bool

	// AllowPrivate permits connections to private networks (RFC 1918, RFC 4193,
	// RFC 6598). Link-local addresses and the metadata services of cloud
	// providers stay refused.
	AllowPrivate bool

	// Now reads Retry-After dates; nil means time.Now.
	Now func() time.Time
}

// Client talks to one or more authorization servers. It may be used by several
// goroutines at once, and should be kept: it holds connections.
type Client struct {
	base    http.RoundTripper
	own     bool // base is ours
	timeout time.Duration
	now     func() time.Time
	retry   *retryablehttp.Client
}

// New returns a Client. It opens no connection.
func New(cfg Config) *Client {
	c := &Client{base: cfg.Base, timeout: cfg.Timeout, now: cfg.Now}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	c.timeout = min(c.timeout, maxTimeout)
	if c.now == nil {
		c.now = time.Now
	}
	if c.base == nil {
		c.base, c.own = newTransport(cfg, c.timeout), true
	}
	c.retry = &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: exchanger{c}},
		// The default logger prints URLs, and the default error handler puts
		// an error of its own in the place of the server's answer.
		Logger:       nil,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		RetryMax:     maxRetries,
		RetryWaitMin: minBackoff,
		RetryWaitMax: maxBackoff,
		CheckRetry:   c.checkRetry,
		Backoff:      c.backoff,
	}
	return c
}

// CloseIdleConnections closes the connections that wait for their next use.
func (c *Client) CloseIdleConnections() {
	if t, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Response is an answer of the server, of any status but 3xx. Whether the status
// is the right one is up to the caller.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // complete

	// RetryAfter is what the server asked for, between 0 and 60 seconds; 0 if
	// it asked for nothing that can be understood.
	RetryAfter time.Duration
}

// Do sends req as a call of the given class and returns the server's answer.
// maxBody is how many bytes its body may have; zero or less means 1 MiB, more
// than 2 MiB means 2 MiB. The context of req may end the call early. Do sets
// User-Agent and Accept-Encoding, and Accept to application/json unless req has
// one; req itself is not changed, except that its body is read and closed.
//
// Any error is an [*Error]. A grant must be a POST with a body.
func (c *Client) Do(req *http.Request, class Class, maxBody int64) (*Response, error) {
	resp, err := c.do(req, class, maxBody)
	if err != nil {
		return nil, err
	}
	wait, _ := retryAfter(resp.Header, c.now())
	return &Response{
		Status:     resp.StatusCode,
		Header:     resp.Header,
		Body:       resp.Body.(*memory).data,
		RetryAfter: wait,
	}, nil
}

func (c *Client) do(req *http.Request, class Class, maxBody int64) (*http.Response, error) {
	body, err := requestBody(req)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(req, class, body); err != nil {
		return nil, err
	}
	if maxBody <= 0 {
		maxBody = defaultBody
	}

	ctx, cancel := context.WithTimeout(req.Context(), c.timeout)
	defer cancel() // the body has been read by then
	ctx = withCall(ctx, &call{class: class, maxBody: min(maxBody, maxBodyCap)})

	hr := req.WithContext(ctx)
	hr.Header = header(req.Header)
	hr.Body, hr.GetBody, hr.ContentLength = nil, nil, 0
	rr := &retryablehttp.Request{Request: hr}
	if len(body) > 0 {
		if err := rr.SetBody(body); err != nil {
			return nil, &Error{Kind: KindRequest}
		}
	}
	if class.grant() {
		// With GetBody, net/http would repeat the request by itself: on a
		// reused HTTP/1 connection, or an HTTP/2 stream that was refused.
		rr.GetBody = nil
	}

	resp, err := c.retry.Do(rr)
	if err != nil {
		return nil, c.final(ctx, err)
	}
	return resp, nil
}

// final makes an *Error of what go-retryablehttp returned.
func (c *Client) final(ctx context.Context, err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e // without the *url.Error around it
	case ctx.Err() != nil:
		// The context ended between two attempts, and the next is made only
		// where the one before was not processed or may be repeated.
		return contextError(ctx.Err(), false)
	}
	return &Error{Kind: KindRequest} // net/http's client refused to send it
}

// header returns the header to send, in a map of our own.
func header(from http.Header) http.Header {
	h := from.Clone()
	if h == nil {
		h = make(http.Header, 3)
	}
	h.Set("User-Agent", userAgent)
	h.Set("Accept-Encoding", "identity")
	if h.Get("Accept") == "" {
		h.Set("Accept", "application/json")
	}
	return h
}

// checkRequest refuses a grant that something below could repeat by itself.
func checkRequest(req *http.Request, class Class, body []byte) error {
	if !class.grant() {
		return nil
	}
	// RFC 6749 §3.2: token requests are POSTs. net/http repeats other methods,
	// requests without a body, and those with one of these headers.
	if req.Method != http.MethodPost || len(body) == 0 {
		return &Error{Kind: KindRequest}
	}
	for name := range req.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Idempotency-Key", "X-Idempotency-Key":
			return &Error{Kind: KindRequest}
		}
	}
	return nil
}

// requestBody reads and closes the body of req.
func requestBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer req.Body.Close()
	body, err := readAll(req.Body, req.ContentLength, maxRequest)
	if err != nil || (req.ContentLength > 0 && int64(len(body)) != req.ContentLength) {
		return nil, &Error{Kind: KindRequest}
	}
	return body, nil
}
