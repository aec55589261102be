package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func (b *bench) fetches() int {
	synctest.Wait()
	return b.as.Requests(authtest.Metadata)
}

func (b *bench) mustDiscover() *client.Metadata {
	b.Helper()
	m, err := b.c.Discover(ctx)
	if err != nil {
		b.Fatalf("Discover: %v", err)
	}
	return m
}

func TestNewContactsNobody(t *testing.T) {
	scenario(t, "ATK-D13 server away at start", func(b *bench) {
		plug := b.as.Unplug()
		if _, err := client.New(client.Config{Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback, Transport: b.net}); err != nil {
			b.Fatal(err)
		}
		if n := b.net.count("as.example"); n != 0 {
			b.Errorf("New sent %d requests", n)
		}
		start := time.Now()
		_, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
		b.failed(err, failure{code: client.ErrDiscovery, reason: "transport", outcome: client.Transient, action: client.ActionRetry})
		if !errors.Is(err, client.ErrTransport) {
			b.Errorf("ErrTransport is not to be found in %v", err)
		}
		if took := time.Since(start); took > time.Second {
			b.Errorf("it took %v", took)
		}
		if err := plug(); err != nil {
			b.Fatal(err)
		}
		b.mustLogin(client.AuthorizationOptions{})
	})
	scenario(t, "answers later than the deadline", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Wire: authtest.StallBefore})
		_, err := b.c.Discover(ctx)
		b.failed(err, failure{code: client.ErrDiscovery, reason: "timeout", outcome: client.Transient, action: client.ActionRetry})
	})
}

func TestDiscoveryWire(t *testing.T) {
	wire := func(w authtest.Wire) authtest.Fault { return authtest.Fault{Endpoint: authtest.Metadata, Wire: w} }
	status := func(code int) failure { f := mend(client.ErrDiscovery, "status"); f.status = code; return f }
	later := failure{code: client.ErrDiscovery, reason: "status", outcome: client.Transient, action: client.ActionRetry}
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
		want  failure
	}{
		{"ATK-D05 redirect", answer(authtest.Metadata, authtest.Redirect(302, "https://evil.example/")), mend(client.ErrDiscovery, "redirect_refused")},
		{"ATK-D05 redirect to itself", answer(authtest.Metadata, authtest.Redirect(301, issuer+"/.well-known/openid-configuration")), mend(client.ErrDiscovery, "redirect_refused")},
		{"ATK-D07 without an end", wire(authtest.Endless), mend(client.ErrDiscovery, "response_too_large")},
		{"ATK-D07 giant", answer(authtest.Metadata, authtest.JSON(200, strings.Repeat(" ", 512<<10+1))), mend(client.ErrDiscovery, "response_too_large")},
		{"ATK-D07 drips", wire(authtest.Drip), failure{code: client.ErrDiscovery, reason: "timeout", outcome: client.Transient, action: client.ActionRetry}},
		{"compressed", wire(authtest.GzipBomb), mend(client.ErrDiscovery, "content_type")},
		{"201", answer(authtest.Metadata, authtest.JSON(201, "{}")), status(201)},
		{"204", answer(authtest.Metadata, authtest.JSON(204, "")), status(204)},
		{"206", answer(authtest.Metadata, authtest.JSON(206, "{}")), status(206)},
		{"404", answer(authtest.Metadata, authtest.HTML(404)), status(404)},
		{"503", answer(authtest.Metadata, authtest.HTML(503)), func() failure { f := later; f.status = 503; return f }()},
		{"429", answer(authtest.Metadata, authtest.HTML(429)), func() failure { f := later; f.status = 429; return f }()},
	} {
		scenario(t, tc.name, func(b *bench) {
			b.as.Misbehave(tc.fault)
			_, err := b.c.Discover(ctx)
			b.failed(err, tc.want)
			if n := b.net.count("evil.example"); n != 0 {
				b.Errorf("evil.example got %d requests", n)
			}
			if b.events.count(client.EventMetadataFailed) != 1 {
				b.Errorf("events are %q", b.events.kinds())
			}
		})
	}
}

// One fetch for many, and each of them leaves when its own context ends.
func TestDiscoverySingleFlight(t *testing.T) {
	scenario(t, "many callers", func(b *bench) {
		gate := make(chan struct{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Wire: authtest.StallBefore, Gate: gate})
		done := make(chan error)
		for range 50 {
			go func() { _, err := b.c.Discover(ctx); done <- err }()
		}
		if n := b.fetches(); n != 1 {
			b.Errorf("%d fetches", n)
		}
		close(gate)
		for range 50 {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		if n := b.fetches(); n != 1 {
			b.Errorf("%d fetches in the end", n)
		}
	})
	scenario(t, "the first caller leaves", func(b *bench) {
		gate := make(chan struct{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Wire: authtest.StallBefore, Gate: gate})
		first, leave := context.WithCancel(ctx)
		left := make(chan error, 1)
		go func() { _, err := b.c.Discover(first); left <- err }()
		synctest.Wait()
		stays := make(chan error, 1)
		go func() { _, err := b.c.Discover(ctx); stays <- err }()
		synctest.Wait()
		leave()
		err := <-left
		b.failed(err, failure{code: client.ErrDiscovery, reason: "canceled", outcome: client.Transient, action: client.ActionRetry})
		if !errors.Is(err, context.Canceled) {
			b.Errorf("context.Canceled is not to be found in %v", err)
		}
		close(gate)
		if err := <-stays; err != nil {
			b.Errorf("the one who stayed: %v", err)
		}
		if n := b.fetches(); n != 1 {
			b.Errorf("%d fetches", n)
		}
	})
	scenario(t, "a deadline of the caller's", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Wire: authtest.StallBefore})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		start := time.Now()
		_, err := b.c.Discover(short)
		if took := time.Since(start); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			b.Errorf("%v after %v", err, took)
		}
	})
	scenario(t, "a failure is shared, and not kept", func(b *bench) {
		gate := make(chan struct{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Times: 1, Wire: authtest.StallAfter, Gate: gate, Answer: authtest.HTML(404)})
		done := make(chan error)
		for range 5 {
			go func() { _, err := b.c.Discover(ctx); done <- err }()
		}
		synctest.Wait()
		close(gate)
		for range 5 {
			if err := <-done; !errors.Is(err, client.ErrDiscovery) {
				b.Errorf("got %v", err)
			}
		}
		if n := b.fetches(); n != 1 {
			b.Errorf("%d fetches", n)
		}
		b.mustDiscover()
	})
}

func TestMetadataAge(t *testing.T) {
	scenario(t, "fresh for an hour", func(b *bench) {
		b.mustDiscover()
		time.Sleep(time.Hour - time.Second)
		b.mustDiscover()
		if n := b.fetches(); n != 1 {
			b.Errorf("%d fetches", n)
		}
	})
	scenario(t, "refreshed in the background", func(b *bench) {
		b.mustDiscover()
		time.Sleep(time.Hour)
		gate := make(chan struct{})
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Wire: authtest.StallBefore, Gate: gate})
		b.as.Misbehave(member(authtest.Metadata, "end_session_endpoint", issuer+"/elsewhere"))
		for range 3 {
			if m := b.mustDiscover(); m.EndSessionEndpoint != issuer+"/end_session" { // without waiting
				b.Errorf("%+v", m)
			}
		}
		if n := b.fetches(); n != 2 {
			b.Errorf("%d fetches", n)
		}
		close(gate)
		synctest.Wait()
		if m := b.mustDiscover(); m.EndSessionEndpoint != issuer+"/elsewhere" {
			b.Errorf("%+v", m)
		}
		if got := b.events.count(client.EventMetadataLoaded); got != 2 {
			b.Errorf("events are %q", b.events.kinds())
		}
	})
	scenario(t, "ATK-D13 stale while the server is away", func(b *bench) {
		b.mustDiscover()
		b.as.Unplug()
		time.Sleep(24*time.Hour - time.Second)
		b.mustDiscover()
		synctest.Wait()
		if b.events.count(client.EventMetadataFailed) != 0 {
			b.Error("the background fetch has failed already, within its retries")
		}
		time.Sleep(500 * time.Millisecond)
		b.mustDiscover()
	})
	scenario(t, "one background attempt a minute", func(b *bench) {
		b.mustDiscover()
		b.as.Misbehave(answer(authtest.Metadata, authtest.HTML(404)))
		time.Sleep(2 * time.Hour)
		for range 60 {
			b.mustDiscover()
			time.Sleep(time.Second)
		}
		if n := b.fetches(); n != 2 {
			b.Errorf("%d fetches in a minute", n)
		}
		b.mustDiscover()
		if n := b.fetches(); n != 3 {
			b.Errorf("%d fetches after a minute", n)
		}
		if n := b.events.count(client.EventMetadataFailed); n != 2 {
			b.Errorf("%d failures were told", n)
		}
	})
	scenario(t, "ATK-D13 not believed after a day", func(b *bench) {
		b.mustDiscover()
		b.as.Unplug()
		time.Sleep(24 * time.Hour)
		_, err := b.c.Discover(ctx)
		b.failed(err, failure{code: client.ErrDiscovery, reason: "transport", outcome: client.Transient, action: client.ActionRetry})
	})
	scenario(t, "back after a day", func(b *bench) {
		b.mustDiscover()
		time.Sleep(25 * time.Hour)
		b.mustDiscover()
		if n := b.fetches(); n != 2 {
			b.Errorf("%d fetches", n)
		}
	})
}

// ATK-D08: metadata that turns hostile. What was good is kept until it is a day old, and the operator is told.
func TestMetadataDowngrade(t *testing.T) {
	elsewhere := func(s *setup) {
		s.client.EndpointHosts = []string{"evil.test"}
		s.client.Quirks.AssumePKCE = true
	}
	const evil = "https://evil.test/x"
	for _, tc := range []struct {
		name   string
		fault  authtest.Fault
		reason string
	}{
		{"S256 gone from the list", member(authtest.Metadata, "code_challenge_methods_supported", nil), "pkce"},
		{"iss flag gone", member(authtest.Metadata, "authorization_response_iss_parameter_supported", nil), "iss"},
		{"iss flag false", member(authtest.Metadata, "authorization_response_iss_parameter_supported", false), "iss"},
		{"token endpoint moved", member(authtest.Metadata, "token_endpoint", evil), "token_endpoint"},
		{"token endpoint on another port", member(authtest.Metadata, "token_endpoint", issuer+":8443/token"), "token_endpoint"},
		{"jwks_uri moved", member(authtest.Metadata, "jwks_uri", evil), "jwks_uri"},
		{"authorization endpoint moved", member(authtest.Metadata, "authorization_endpoint", evil), "authorization_endpoint"},
		{"userinfo endpoint moved", member(authtest.Metadata, "userinfo_endpoint", evil), "userinfo_endpoint"},
		{"revocation endpoint moved", member(authtest.Metadata, "revocation_endpoint", evil), "revocation_endpoint"},
	} {
		scenario(t, tc.name, func(b *bench) {
			good := *b.mustDiscover()
			time.Sleep(2 * time.Hour)
			b.as.Misbehave(tc.fault)
			b.mustDiscover()
			synctest.Wait()
			m := b.mustDiscover()
			if m.TokenEndpoint != good.TokenEndpoint || m.JWKSURI != good.JWKSURI || m.AuthorizationEndpoint != good.AuthorizationEndpoint || m.UserInfoEndpoint != good.UserInfoEndpoint ||
				m.RevocationEndpoint != good.RevocationEndpoint || m.IssParameterSupported != good.IssParameterSupported || !slices.Equal(m.CodeChallengeMethods, good.CodeChallengeMethods) {
				b.Errorf("in use is %+v", m)
			}
			e := b.events.find(client.EventMetadataRefused, tc.reason)
			if e == nil || e.Code != client.ErrDiscovery || e.Issuer != issuer || e.ClientID != "app" || e.Time.IsZero() {
				b.Errorf("events are %+v", b.events.all())
			}
			// A day later it counts, and is told again.
			time.Sleep(24 * time.Hour)
			m = b.mustDiscover()
			if e := b.events.find(client.EventMetadataLoaded, tc.reason); e == nil || e.Code != client.ErrDiscovery {
				b.Errorf("events are %+v", b.events.all())
			}
			if m.IssParameterSupported == good.IssParameterSupported && tc.reason == "iss" {
				b.Errorf("in use is %+v", m)
			}
		}, elsewhere)
	}
	for name, fault := range map[string]authtest.Fault{
		"issuer":                   member(authtest.Metadata, "issuer", "https://evil.example"),
		"http endpoint":            member(authtest.Metadata, "token_endpoint", "http://as.example/token"),
		"foreign endpoint":         member(authtest.Metadata, "token_endpoint", "https://evil.example/token"),
		"only plain":               member(authtest.Metadata, "code_challenge_methods_supported", []string{"plain"}),
		"another algorithm":        member(authtest.Metadata, "id_token_signing_alg_values_supported", []string{"HS256"}),
		"another authentication":   member(authtest.Metadata, "token_endpoint_auth_methods_supported", []string{"none"}),
		"no token endpoint at all": member(authtest.Metadata, "token_endpoint", nil),
	} {
		scenario(t, "refused altogether: "+name, func(b *bench) {
			good := b.mustDiscover()
			time.Sleep(2 * time.Hour)
			b.as.Misbehave(fault)
			b.mustDiscover()
			synctest.Wait()
			if m := b.mustDiscover(); m.TokenEndpoint != good.TokenEndpoint || b.events.count(client.EventMetadataFailed) != 1 {
				b.Errorf("in use is %+v, events are %q", m, b.events.kinds())
			}
			time.Sleep(24 * time.Hour)
			if _, err := b.c.Discover(ctx); err == nil {
				b.Error("accepted after a day")
			}
		})
	}
	scenario(t, "what is new or gone without loss is no downgrade", func(b *bench) {
		b.as.Misbehave(authtest.Fault{Endpoint: authtest.Metadata, Times: 1, JSON: func(m map[string]any) { delete(m, "userinfo_endpoint"); delete(m, "revocation_endpoint") }})
		b.mustDiscover()
		time.Sleep(2 * time.Hour)
		b.mustDiscover()
		synctest.Wait()
		if m := b.mustDiscover(); m.UserInfoEndpoint == "" || b.events.count(client.EventMetadataRefused) != 0 {
			b.Errorf("in use is %+v, events are %q", m, b.events.kinds())
		}
	})
	// A pending login is held to what was announced when it began.
	scenario(t, "iss that was announced at the start", func(b *bench) {
		req := b.begin(client.AuthorizationOptions{})
		r := b.request(b.visit(req), del("iss"))
		b.as.Misbehave(member(authtest.Metadata, "authorization_response_iss_parameter_supported", false))
		tokens, err := b.finish(req, r)
		b.refused(tokens, err, failure{code: client.ErrIssMissing})
	})
}

// A hook may ask the client that calls it, and may panic (ATK-S03).
func TestEventHook(t *testing.T) {
	scenario(t, "that asks the client", func(b *bench) {
		var c *client.Client
		asked := 0
		cfg := client.Config{Issuer: issuer, ClientID: "app", Authentication: client.SecretBasic(client.Secret(secret)), RedirectURI: callback, Transport: b.net}
		cfg.OnEvent = func(ctx context.Context, e client.Event) {
			if e.Kind != client.EventMetadataLoaded {
				return
			}
			asked++
			if _, err := c.Discover(ctx); err != nil {
				b.Error(err)
			}
		}
		var err error
		if c, err = client.New(cfg); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Discover(ctx); err != nil || asked != 1 {
			b.Errorf("asked %d times, %v", asked, err)
		}
	})
	scenario(t, "that panics", func(b *bench) {
		tokens := b.mustLogin(client.AuthorizationOptions{})
		if _, err := b.c.Refresh(ctx, tokens); err != nil {
			b.Error(err)
		}
	}, func(s *setup) { s.client.OnEvent = func(context.Context, client.Event) { panic("canary") } })
}

// A crowd at the login of a broken server is not one at the server, and what is mended is found within a second.
func TestDiscoveryPauses(t *testing.T) {
	scenario(t, "ATK-Q01", func(b *bench) {
		stop := b.as.Misbehave(answer(authtest.Metadata, authtest.HTML(404)))
		for range 20 {
			_, err := b.c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
			if !errors.Is(err, client.ErrDiscovery) {
				b.Fatal(err)
			}
		}
		if n := b.fetches(); n != 3 {
			b.Errorf("%d requests in one moment, want 3", n)
		}
		time.Sleep(time.Second)
		for range 20 {
			b.c.Discover(ctx)
		}
		if n := b.fetches(); n != 4 {
			b.Errorf("%d requests after a second, want 4", n)
		}
		stop()
		time.Sleep(time.Second)
		b.mustLogin(client.AuthorizationOptions{})
	})
}
