package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// The network between client and token endpoint. The code goes out once, whatever happens.
func TestTokenEndpointWire(t *testing.T) {
	inDoubt := func(code client.Code, reason string, status int) failure {
		return failure{code: code, reason: reason, status: status, outcome: client.InDoubt, requests: one}
	}
	refused := func(status int) failure {
		return failure{code: client.ErrRedirectRefused, status: status, requests: one}
	}
	wire := func(w authtest.Wire) authtest.Fault { return authtest.Fault{Endpoint: authtest.Token, Wire: w} }
	redirect := func(status int, to string) authtest.Fault {
		return answer(authtest.Token, authtest.Redirect(status, to))
	}
	encoding := func(coding string) authtest.Fault {
		r := authtest.JSON(200, `{"access_token":"canary-access","token_type":"Bearer"}`)
		r.Header.Set("Content-Encoding", coding)
		return answer(authtest.Token, r)
	}
	const evil = "https://evil.example/collect"
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
		took  time.Duration
	}{
		{"ATK-T04 without an end", wire(authtest.Endless), inDoubt(client.ErrResponseTooLarge, "", 200), 0},
		{"ATK-T05 no answer", wire(authtest.StallAfter), inDoubt(client.ErrTimeout, "", 0), 10 * time.Second},
		{"ATK-T05 stalls in the body", wire(authtest.StallBody), inDoubt(client.ErrTimeout, "", 200), 10 * time.Second},
		{"ATK-T05 drips", wire(authtest.Drip), inDoubt(client.ErrTimeout, "", 200), 10 * time.Second},
		{"ATK-T06 gzip bomb", wire(authtest.GzipBomb), inDoubt(client.ErrContentType, "", 200), 0},
		{"ATK-T06 brotli", encoding("br"), inDoubt(client.ErrContentType, "", 200), 0},
		{"ATK-T06 gzip twice", encoding("gzip, gzip"), inDoubt(client.ErrContentType, "", 200), 0},
		{"ATK-T07 truncated", wire(authtest.Truncate), inDoubt(client.ErrTransport, "", 200), 0},
		{"ATK-T08 307", redirect(307, evil), refused(307), 0},
		{"ATK-T08 308", redirect(308, evil), refused(308), 0},
		{"ATK-T08 307 to the same host", redirect(307, issuer+"/token"), refused(307), 0},
		{"ATK-T08 307 without TLS", redirect(307, "http://evil.example/collect"), refused(307), 0},
		{"ATK-T09 301", redirect(301, evil), refused(301), 0},
		{"ATK-T09 302", redirect(302, evil), refused(302), 0},
		{"ATK-T09 303", redirect(303, evil), refused(303), 0},
		{"ATK-T21 reset after the code was sent", wire(authtest.DropAfter), inDoubt(client.ErrTransport, "", 0), 0},
		{"ATK-T21 reset before it was acted on", wire(authtest.DropBefore), inDoubt(client.ErrTransport, "", 0), 0},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.learn("access token", "canary-access")
			req := b.begin(client.AuthorizationOptions{})
			r := b.request(b.visit(req))
			b.as.Misbehave(tc.fault)
			start := time.Now()
			tokens, err := b.finish(req, r)
			if took := time.Since(start); took != tc.took {
				b.Errorf("it took %v, want %v", took, tc.took)
			}
			b.refused(tokens, err, tc.want)
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
		})
	}
	scenario(t, "slow, but in time", func(b *bench) {
		gate := make(chan struct{})
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req))
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Wire: authtest.StallAfter, Gate: gate})
		go func() { time.Sleep(9 * time.Second); close(gate) }()
		if _, err := b.finish(req, r); err != nil {
			b.Error(err)
		}
	})
	scenario(t, "shorter by configuration", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req))
		b.as.Misbehave(wire(authtest.StallAfter))
		start := time.Now()
		_, err := b.finish(req, r)
		if took := time.Since(start); took != 2*time.Second {
			b.Errorf("it took %v", took)
		}
		b.failed(err, inDoubt(client.ErrTimeout, "", 0))
	}, func(s *setup) { s.client.Timeout = 2 * time.Second })
	scenario(t, "ATK-T29 cookies", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Response: func(_ *authtest.Request, r *authtest.Response) { r.Header.Set("Set-Cookie", "sid=1") }})
		b.mustLogin(client.AuthorizationOptions{})
		b.mustLogin(client.AuthorizationOptions{})
		for _, r := range b.as.Log("") {
			if r.Endpoint != authtest.Authorize && r.Header.Get("Cookie") != "" {
				b.Errorf("%s got a cookie", r.Endpoint)
			}
		}
	})
	scenario(t, "an endpoint with a query keeps it", func(b *bench) {
		b.as.Misbehave(member(authtest.Metadata, "token_endpoint", issuer+"/token?tenant=7"), member(authtest.Metadata, "authorization_endpoint", issuer+"/authorize?tenant=7"))
		req := b.begin(client.AuthorizationOptions{})
		if !strings.HasPrefix(req.URL(), issuer+"/authorize?tenant=7&response_type=code&") {
			b.Errorf("URL is %s", req.URL())
		}
		if _, err := b.finish(req, b.request(b.visit(req))); err != nil {
			b.Fatal(err)
		}
		if got := b.as.Log(authtest.Token)[0].Query.Get("tenant"); got != "7" {
			b.Errorf("tenant is %q", got)
		}
	})
}

// ATK-T20, ATK-S04: nothing was written, nothing is spent, and the error names no URL.
func TestTokenEndpointUnreachable(t *testing.T) {
	as := authtest.NewServer(authtest.Config{Clients: []authtest.Client{{ID: "app", Secret: secret, RedirectURIs: []string{callback}}}})
	defer as.Close()
	// A port of its own, so that no idle connection is there to be cut.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	as.Misbehave(member(authtest.Metadata, "token_endpoint", "http://"+address+"/token"))
	c, err := client.New(client.Config{Issuer: as.Issuer(), ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback})
	if err != nil {
		t.Fatal(err)
	}
	req, err := c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cb, err := as.Authorize(ctx, req.URL())
	if err != nil {
		t.Fatal(err)
	}
	r, err := cb.Request(ctx)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.AuthorizationResponse(r)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.Exchange(ctx, req, resp)
	var e *client.Error
	if tokens != nil || !errors.As(err, &e) || e.Code != client.ErrTransport || e.Outcome != client.Transient || e.Action != client.ActionRetry {
		t.Errorf("got %v, %v", tokens, err)
	}
	if n := as.Requests(authtest.Token); n != 0 {
		t.Errorf("the server saw %d requests", n)
	}
	for _, text := range renderings(err) {
		for _, canary := range []string{"127.0.0.1", cb.Params.Get("code"), req.State(), secretCanary} {
			if strings.Contains(text, canary) {
				t.Errorf("%q shows %q", text, canary)
			}
		}
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: as}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	if _, err := c.Exchange(ctx, req, resp); err != nil { // the code is still good
		t.Errorf("after the server came back: %v", err)
	}
}

// ATK-T24: a certificate that nobody vouches for. Not a byte of a request is sent.
func TestCertificate(t *testing.T) {
	as := authtest.NewServer(authtest.Config{TLS: true, Clients: []authtest.Client{{ID: "app", Secret: secret, RedirectURIs: []string{callback}}}})
	defer as.Close()
	cfg := client.Config{Issuer: as.Issuer(), ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Discover(ctx)
	var e *client.Error
	if !errors.Is(err, client.ErrDiscovery) || !errors.Is(err, client.ErrTransport) || !errors.As(errors.Unwrap(err), &e) || e.Reason != "tls" {
		t.Errorf("got %v", err)
	}
	if n := as.Requests(""); n != 0 {
		t.Errorf("the server saw %d requests", n)
	}
	cfg.RootCAs = as.CertPool()
	if c, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Discover(ctx); err != nil {
		t.Errorf("with its certificate in RootCAs: %v", err)
	}
}

// ATK-T28: an awkward secret arrives as it is, by either method, and by one method only.
func TestClientAuthentication(t *testing.T) {
	const id = "app:+%& é"
	register := func(method string) func(*setup) {
		return func(s *setup) {
			s.registration.ID, s.registration.AuthMethod, s.client.ClientID = id, method, id
			if method == "client_secret_post" {
				s.client.Authentication = client.SecretPost(client.Secret(secret))
			}
		}
	}
	everything := func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		tokens, err := b.c.Refresh(ctx, tokens)
		if err != nil {
			b.Fatalf("Refresh: %v", err)
		}
		if err := b.c.Revoke(ctx, tokens); err != nil {
			b.Fatalf("Revoke: %v", err)
		}
	}
	scenario(t, "client_secret_basic", func(b *bench) {
		everything(b)
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		for _, e := range []authtest.Endpoint{authtest.Token, authtest.Revocation} {
			for _, r := range b.as.Log(e) {
				if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != want || r.Form.Has("client_secret") || r.Form.Has("client_id") {
					b.Errorf("%s: Authorization %q, form %v", e, got, r.Form)
				}
			}
		}
	}, register("client_secret_basic"))
	scenario(t, "client_secret_post", func(b *bench) {
		everything(b)
		for _, e := range []authtest.Endpoint{authtest.Token, authtest.Revocation} {
			for _, r := range b.as.Log(e) {
				if r.Header.Get("Authorization") != "" || r.Form.Get("client_secret") != secret || r.Form.Get("client_id") != id {
					b.Errorf("%s: header %v, form %v", e, r.Header, r.Form)
				}
			}
		}
	}, register("client_secret_post"))
	scenario(t, "never in a URL", func(b *bench) {
		everything(b)
		for _, r := range b.as.Log("") {
			for _, v := range r.Query {
				if strings.Contains(strings.Join(v, ""), secretCanary) {
					b.Errorf("%s has the secret in its query", r.Endpoint)
				}
			}
		}
	}, register("client_secret_post"))
	// ATK-T18: refused, not tried with the other method.
	scenario(t, "the wrong method", func(b *bench) {
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrTokenEndpoint, status: 401, serverCode: "invalid_client", action: client.ActionFixConfiguration, requests: one})
	}, func(s *setup) { s.registration.AuthMethod = "client_secret_post" })
	for _, methods := range [][]string{{}, {"private_key_jwt"}, {"client_secret_post"}} {
		scenario(t, "announced: "+strings.Join(methods, " "), func(b *bench) {
			b.as.Misbehave(member(authtest.Metadata, "token_endpoint_auth_methods_supported", methods))
			_, err := b.c.Discover(ctx)
			b.failed(err, failure{code: client.ErrConfig, reason: "authentication", action: client.ActionFixConfiguration})
		})
	}
}

func TestSecretSources(t *testing.T) {
	source := func(s client.SecretSource) func(*setup) {
		return func(t *setup) { t.client.Authentication = client.SecretBasic(s) }
	}
	file := filepath.Join(t.TempDir(), "canary-path")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	transient := failure{code: client.ErrConfig, reason: "secret", outcome: client.Transient, action: client.ActionFixConfiguration}
	for name, end := range map[string]string{"no line end": "", "line end": "\n", "line end of Windows": "\r\n", "two": "\n\n"} {
		write(secret + end)
		scenario(t, "file with "+name, func(b *bench) { b.mustLogin(client.AuthorizationOptions{}) }, source(client.SecretFile(file)))
	}
	scenario(t, "file that changes", func(b *bench) {
		write("old")
		_, err := b.login(client.AuthorizationOptions{})
		b.failed(err, failure{code: client.ErrTokenEndpoint, status: 401, serverCode: "invalid_client", action: client.ActionFixConfiguration})
		write(secret)
		b.mustLogin(client.AuthorizationOptions{})
	}, source(client.SecretFile(file)))
	scenario(t, "file that is not there", func(b *bench) {
		b.learn("path", "canary-path")
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, transient)
		if !errors.Is(err, os.ErrNotExist) {
			b.Errorf("os.ErrNotExist is not to be found in %v", err)
		}
	}, source(client.SecretFile(filepath.Join(t.TempDir(), "canary-path"))))
	write("\n")
	scenario(t, "empty file", func(b *bench) {
		tokens, err := b.login(client.AuthorizationOptions{})
		b.refused(tokens, err, failure{code: client.ErrConfig, reason: "secret", action: client.ActionFixConfiguration})
	}, source(client.SecretFile(file)))
	vault := errors.New("vault: canary-vault-token")
	asked := 0
	scenario(t, "function", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if _, err := b.c.Refresh(ctx, tokens); err != nil || asked != 2 {
			b.Errorf("asked %d times, %v", asked, err)
		}
	}, source(client.SecretFunc(func(context.Context) (client.Secret, error) { asked++; return secret, nil })))
	// What a vault says is a stranger's text and may hold its own token.
	scenario(t, "function that fails", func(b *bench) {
		b.learn("vault", "canary-vault-token")
		tokens, err := b.login(client.AuthorizationOptions{})
		if !errors.Is(err, vault) {
			b.Errorf("the function's error is not to be found in %v", err)
		}
		var e *client.Error
		if errors.As(err, &e); strings.Contains(e.Error(), "canary") || e.Code != transient.code || e.Outcome != transient.outcome || tokens != nil {
			b.Errorf("got %v", err)
		}
		b.saw(requests{})
		b.silentEvents()
	}, source(client.SecretFunc(func(context.Context) (client.Secret, error) { return "", vault })))
}

// A transport that panics or answers nothing is the caller's mistake, and ends neither the program nor a login in silence (ATK-S03).
func TestBrokenTransport(t *testing.T) {
	for name, rt := range map[string]transportFunc{
		"panics":          func(*http.Request) (*http.Response, error) { panic("canary-panic") },
		"answers nothing": func(*http.Request) (*http.Response, error) { return nil, nil },
		"fails with the URL": func(r *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: "https://canary-user:canary-password@proxy", Err: errors.New("canary-proxy")}
		},
		"answers without body": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}}, nil
		},
	} {
		scenario(t, name, func(b *bench) {
			for _, canary := range []string{"canary-panic", "canary-user", "canary-password", "canary-proxy"} {
				b.learn("transport", canary)
			}
			_, err := b.c.Discover(ctx)
			if !errors.Is(err, client.ErrDiscovery) {
				b.Fatalf("got %v", err)
			}
			for err := err; err != nil; err = errors.Unwrap(err) {
				b.silent("error", err)
			}
			b.silentEvents()
		}, func(s *setup) { s.client.Transport = rt })
	}
}
