package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/backchannel"
	"github.com/sallyport/sallyport/internal/idtoken"
)

const (
	metadataSoftAge  = time.Hour      // older: refreshed in the background
	metadataHardAge  = 24 * time.Hour // older: not used any more
	metadataRetry    = time.Minute    // between background attempts
	metadataPause    = time.Second    // after failures in a row, while there is nothing to serve
	metadataAttempts = 3              // failures in a row before each pause
	maxMetadataBytes = 512 << 10
	maxJWKSBytes     = 512 << 10
)

// metadataCache holds the last good metadata and at most one fetch under way.
type metadataCache struct {
	mu      sync.Mutex
	current *Metadata
	fetched time.Time
	tried   time.Time
	flight  *metadataFlight
	failed  int   // attempts in a row
	failure error // of the last one
}

type metadataFlight struct {
	done chan struct{}
	m    *Metadata
	err  error
}

// Discover returns the server's metadata, fetching it if there is none yet. Use
// it to fail at start. Every other call fetches on first use by itself.
// Failure: [ErrDiscovery], also when ctx ends first (errors.Is then finds its
// error too), [ErrIssuerMismatch], [ErrEndpointRefused], or [ErrConfig] if the
// server cannot do what the configuration asks.
func (c *Client) Discover(ctx context.Context) (*Metadata, error) {
	m, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	return m.clone(), nil
}

// discover returns cached metadata up to the soft age, cached metadata with a
// refresh in the background up to the hard age, and waits for a fetch beyond.
func (c *Client) discover(ctx context.Context) (*Metadata, error) {
	mc := &c.metadata
	now := c.now()
	mc.mu.Lock()
	age := now.Sub(mc.fetched)
	if mc.current != nil && age < metadataHardAge {
		m := mc.current
		if age >= metadataSoftAge && mc.flight == nil && now.Sub(mc.tried) >= metadataRetry {
			c.startFetch(ctx)
		}
		mc.mu.Unlock()
		return m, nil
	}
	// A crowd at the login of a server that is away does not become a crowd at the server (ATK-Q01).
	if since := now.Sub(mc.tried); mc.flight == nil && mc.failed >= metadataAttempts && since >= 0 && since < metadataPause {
		defer mc.mu.Unlock()
		return nil, mc.failure
	}
	if mc.flight == nil {
		c.startFetch(ctx)
	}
	f := mc.flight
	mc.mu.Unlock()
	select {
	case <-f.done:
		return f.m, f.err
	case <-ctx.Done():
		return nil, NewError(ErrDiscovery, "canceled", ctx.Err())
	}
}

// startFetch begins the one fetch; mu is held. It does not end with the request that began it.
func (c *Client) startFetch(ctx context.Context) {
	mc := &c.metadata
	f := &metadataFlight{done: make(chan struct{})}
	mc.flight, mc.tried = f, c.now()
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(f.done)
		m, err := c.fetchMetadata(ctx)
		mc.mu.Lock()
		mc.flight = nil
		var event Event
		event, f.m, f.err = c.keepMetadata(m, err)
		mc.mu.Unlock()
		c.emit(ctx, event) // without the lock: a hook may ask this client for something
	}()
}

// keepMetadata decides what is current after a fetch, and what to tell; mu is held.
func (c *Client) keepMetadata(m *Metadata, err error) (Event, *Metadata, error) {
	mc := &c.metadata
	now := c.now()
	held := mc.current != nil && now.Sub(mc.fetched) < metadataHardAge
	if mc.failure = err; err != nil {
		mc.failed++
		event := Event{Kind: EventMetadataFailed, Err: err}
		if held {
			return event, mc.current, nil
		}
		return event, nil, err
	}
	mc.failed = 0
	event := Event{Kind: EventMetadataLoaded}
	if mc.current != nil {
		if what := weaker(mc.current, m); what != "" {
			// A server that turns hostile or is being rolled back: hold on to
			// what was good until it is too old to be believed (ATK-D08).
			event.Code, event.Reason = ErrDiscovery, what
			if held {
				event.Kind = EventMetadataRefused
				return event, mc.current, nil
			}
		}
	}
	mc.current, mc.fetched = m, now
	return event, m, nil
}

// fetchMetadata runs in a goroutine of its own, where the panic of a caller's
// transport would end the program.
func (c *Client) fetchMetadata(ctx context.Context) (m *Metadata, err error) {
	defer func() {
		if recover() != nil {
			m, err = nil, NewError(ErrDiscovery, "panic", nil)
		}
	}()
	if c.cfg.Metadata != MetadataBoth {
		return c.fetchDocument(ctx, c.cfg.Metadata)
	}
	a, err := c.fetchDocument(ctx, MetadataOpenID)
	if err != nil {
		return nil, err
	}
	b, err := c.fetchDocument(ctx, MetadataOAuth)
	if err != nil {
		return nil, err
	}
	if !agree(a, b) {
		return nil, badMetadata("disagreement").WithHint("the two metadata documents of this issuer contradict each other: choose one with Config.Metadata once you know which is right")
	}
	return a, nil
}

func (c *Client) fetchDocument(ctx context.Context, kind MetadataKind) (*Metadata, error) {
	at, err := wellKnown(c.cfg.Issuer, kind)
	if err != nil {
		return nil, badMetadata("issuer")
	}
	resp, err := c.get(ctx, at, maxMetadataBytes)
	if err != nil {
		return nil, discoveryFailed(err)
	}
	// RFC 8414 §3.2: 200 with application/json, nothing else.
	if resp.Status != http.StatusOK {
		e := NewError(ErrDiscovery, "status", nil)
		e.Status, e.RetryAfter = resp.Status, resp.RetryAfter
		if !failedForNow(resp.Status) {
			e.Outcome, e.Action = Rejected, ActionFixConfiguration
			e.hint = "no metadata where this issuer should have it: check Issuer and Metadata"
		}
		return nil, e
	}
	if backchannel.MediaType(resp.Header) != "application/json" {
		return nil, badMetadata("content_type")
	}
	return c.parseMetadata(resp.Body)
}

// failedForNow reports whether a status speaks of the server's state and not of the request.
func failedForNow(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// discoveryFailed reports a transport failure as one of discovery, keeping its
// own code as the cause so that errors.Is finds both.
func discoveryFailed(err error) error {
	cause := transportError(err)
	e := NewError(ErrDiscovery, string(cause.Code), cause)
	if cause.Outcome == Rejected {
		e.Outcome, e.Action = Rejected, ActionFixConfiguration
	}
	return e
}

// get is an idempotent GET without credentials.
func (c *Client) get(ctx context.Context, url string, maxBody int64) (*backchannel.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, NewError(ErrConfig, "endpoint", nil)
	}
	return c.http.Do(req, backchannel.Idempotent, maxBody)
}

// transportError turns the failure of an idempotent call into one of ours: of
// such a call nothing can be in doubt.
func transportError(err error) *Error {
	e := grantTransportError(err)
	if e.Outcome == InDoubt {
		d := NewError(e.Code, e.Reason, e.cause)
		e.Outcome, e.Action = d.Outcome, d.Action
	}
	return e
}

// grantTransportError turns the failure of a call that carries a grant into one of ours.
func grantTransportError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var be *backchannel.Error
	if !errors.As(err, &be) {
		return NewError(ErrTransport, "", nil)
	}
	code, reason, hint := ErrTransport, "", ""
	switch be.Kind {
	case backchannel.KindTimeout:
		code = ErrTimeout
	case backchannel.KindCanceled:
		reason = "canceled"
	case backchannel.KindRedirect:
		code = ErrRedirectRefused
	case backchannel.KindTooLarge:
		code = ErrResponseTooLarge
	case backchannel.KindEncoding:
		code = ErrContentType
	case backchannel.KindAddress:
		code, hint = ErrEndpointRefused, "the server is at a private address: set Quirks.AllowPrivateAddresses if that is where it belongs"
	case backchannel.KindTLS:
		reason, hint = "tls", "its certificate must be valid for its name, from an authority that the system or Config.RootCAs trusts"
	case backchannel.KindRequest:
		code, reason = ErrConfig, "request"
	}
	e := NewError(code, reason, be).WithHint(hint)
	e.Status = be.Status
	if failedForNow(be.Status) { // an outage whose page we could not even read
		e.Outcome, e.Action = Transient, ActionRetry
	}
	if be.InDoubt {
		e.Outcome, e.Action = InDoubt, ActionRetry
	}
	return e
}

// keySet is the server's JWKS, made on first use. Its fetches ask for the
// jwks_uri of the metadata that is current then.
func (c *Client) keySet() *idtoken.KeySet {
	c.keysMu.Lock()
	defer c.keysMu.Unlock()
	if c.keys == nil {
		c.keys = idtoken.NewKeySet(idtoken.KeySetConfig{Fetch: c.fetchJWKS, Now: c.now, OnEvent: func(kind string) {
			c.emit(context.Background(), Event{Kind: EventJWKS, Reason: kind})
		}})
	}
	return c.keys
}

func (c *Client) fetchJWKS(ctx context.Context) (body []byte, cacheControl string, err error) {
	m, err := c.discover(ctx)
	if err != nil {
		return nil, "", err
	}
	if m.JWKSURI == "" { // openid asked for in one request of a client that is configured without it
		return nil, "", NewError(ErrJWKS, "missing", nil)
	}
	resp, err := c.get(ctx, m.JWKSURI, maxJWKSBytes)
	if err != nil {
		return nil, "", transportError(err)
	}
	if resp.Status != http.StatusOK {
		e := NewError(ErrJWKS, "status", nil)
		e.Status = resp.Status
		return nil, "", e
	}
	return resp.Body, resp.Header.Get("Cache-Control"), nil
}
