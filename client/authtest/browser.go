package authtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// Browser plays the part of a user's browser at one server: it logs the chosen
// user in, also at an interactive server, and remembers the login, so that
// prompt=none, max_age and logout can be tested. It reaches the server as
// [Server.Transport] does, and goes nowhere else: where the server sends it is
// the result.
type Browser struct {
	s      *Server
	client *http.Client
}

// NewBrowser returns a browser in which nobody is logged in.
func (s *Server) NewBrowser() *Browser {
	jar, _ := cookiejar.New(nil) // cannot fail without options
	return &Browser{s: s, client: &http.Client{
		Transport: s.Transport(),
		Jar:       jar,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// Callback is where the server sent the browser, in most cases an authorization
// response.
type Callback struct {
	Method string // GET, or POST for response_mode=form_post
	URL    string
	// Params are the parameters: those of URL, or the form's.
	Params url.Values
}

// Request returns the request that the browser would now make, ready for an
// http.Client. A handler that is called with it directly sees an absolute URL
// and no RequestURI.
func (c *Callback) Request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if c.Method == http.MethodPost {
		body = strings.NewReader(c.Params.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, c.Method, c.URL, body)
	if err != nil {
		return nil, fmt.Errorf("authtest: the callback is no request: %w", err)
	}
	if c.Method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r, nil
}

// Authorize opens an authorization URL in a new browser, logs the chosen user
// in, and returns the callback. An error response is a callback too; the error
// is for requests that the server refuses to redirect, and for broken
// connections. For several visits of one browser see [Server.NewBrowser].
func (s *Server) Authorize(ctx context.Context, authorizationURL string) (*Callback, error) {
	return s.NewBrowser().Open(ctx, authorizationURL)
}

// maxVisits bounds the redirects inside the server.
const maxVisits = 10

// Open opens a URL of the server (an authorization or an end_session request)
// and follows it until it leads away from the server. A nil callback without an
// error means that it ended there, as a logout without
// post_logout_redirect_uri does.
func (b *Browser) Open(ctx context.Context, target string) (*Callback, error) {
	for range maxVisits {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, fmt.Errorf("authtest: cannot open the URL: %w", err)
		}
		if r.URL.Scheme+"://"+r.URL.Host != b.s.origin {
			return nil, errors.New("authtest: the URL is not one of this server")
		}
		r.Header.Set(automaticHeader, "1")
		resp, err := b.client.Do(r)
		if err != nil {
			// Without the URL, which holds state and nonce.
			if wrapped, ok := errors.AsType[*url.Error](err); ok {
				err = wrapped.Err
			}
			return nil, fmt.Errorf("authtest: the browser got no answer: %w", err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("authtest: the browser got half an answer: %w", err)
		}
		location, err := resp.Location()
		switch {
		case err == nil:
			if here := location.Scheme + "://" + location.Host; here != b.s.origin || b.s.routes[location.EscapedPath()].serve == nil {
				callback := &Callback{Method: http.MethodGet, URL: location.String(), Params: location.Query()}
				if raw := resp.Header.Get("Location"); strings.Contains(raw, "://") {
					callback.URL = raw // byte for byte
				}
				return callback, nil
			}
			target = location.String()
			continue
		case resp.StatusCode != http.StatusOK:
			return nil, refusal(resp.StatusCode, body)
		}
		var form formPost
		if json.Unmarshal(body, &form) == nil && form.URL != "" {
			return &Callback{Method: http.MethodPost, URL: form.URL, Params: form.Params}, nil
		}
		return nil, nil
	}
	return nil, errors.New("authtest: the server redirects to itself without end")
}

// refusal repeats what the server says, which are its own words only.
func refusal(status int, body []byte) error {
	var e struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &e) == nil && e.Code != "" {
		return fmt.Errorf("authtest: the server refused: %d %s: %s", status, e.Code, e.Description)
	}
	return fmt.Errorf("authtest: the server answered with status %d", status)
}
