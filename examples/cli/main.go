// Cli shows an OpenID Connect login step by step: every message of the front
// and the back channel, secrets masked, with one sentence why it is there.
//
//	go run ./examples/cli
//
// runs the whole exchange against an embedded authorization server and drives
// the consent itself. Against a real one,
//
//	CLIENT_SECRET=… go run ./examples/cli -issuer https://login.example.com -client-id cli
//
// prints the URL to open; register http://127.0.0.1/callback there (any port,
// RFC 8252 §7.3), with a registration of its own: a secret does not belong into
// a program that is given to others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/sallyport/sallyport/client"
)

type options struct {
	issuer, clientID, secret, scopes string
	auto                             bool
	timeout                          time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.issuer, "issuer", "", "issuer identifier; empty starts an embedded authorization server")
	flag.StringVar(&o.clientID, "client-id", "", "client identifier; the secret is read from CLIENT_SECRET")
	flag.StringVar(&o.scopes, "scopes", "openid profile email offline_access", "scopes to ask for")
	flag.BoolVar(&o.auto, "auto", false, "drive the consent without a browser (always so on the embedded server)")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for the browser to come back")
	flag.Parse()
	o.secret = os.Getenv("CLIENT_SECRET")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "cli:", err)
		os.Exit(1)
	}
}

// run goes through the exchange once.
func run(ctx context.Context, out io.Writer, o options) error {
	s, err := newSetting(out, o)
	if err != nil {
		return err
	}
	defer s.close()
	p := s.printer

	p.step("Discovery", "Everything about the server comes from its metadata, whose issuer must be the configured one to the letter (RFC 8414 §3.3).")
	if _, err := s.client.Discover(ctx); err != nil {
		return err
	}
	p.step("Authorization request", "The browser carries it. state ties the answer to this request, nonce ties the ID token to it, and the PKCE challenge makes the code useless to anybody without the verifier (RFC 7636).")
	req, err := s.client.AuthorizationRequest(ctx, client.AuthorizationOptions{})
	if err != nil {
		return err
	}
	p.front("GET", req.URL())
	response, err := s.consent(ctx, req.URL())
	if err != nil {
		return err
	}
	p.step("Authorization response", "It came to the loopback redirect URI. Its state, its iss (RFC 9207) and its shape are checked before anything is sent.")
	p.front("GET", response.URL.RequestURI())
	resp, err := s.client.AuthorizationResponse(response)
	if err != nil {
		return err
	}
	p.step("Token request", "The code goes to the token endpoint with the verifier and the client's own authentication; it is sent once, whatever happens. Then the ID token's signature is checked against the server's keys.")
	tokens, err := s.client.Exchange(ctx, req, resp)
	if err != nil {
		return err
	}
	p.result("logged in", "issuer", tokens.IDToken.Issuer, "subject", tokens.Subject, "scopes", fmt.Sprint(tokens.Scopes), "access token until", tokens.Expiry.Format(time.TimeOnly))

	p.step("Userinfo request", "What the server knows about the user, asked with the access token; its sub must be the ID token's (OpenID Connect Core §5.3.2).")
	if _, err := s.client.FetchUserInfo(ctx, tokens); err != nil && !errors.Is(err, client.ErrConfig) {
		return err
	}
	if tokens.RefreshToken == "" {
		p.note("The server issued no refresh token, so there is nothing to refresh.")
	} else {
		p.step("Refresh request", "A refresh token is spent by being used: the server answers with the next one (OAuth 2.1 §4.3.1).")
		before := tokens.RefreshToken
		if tokens, err = s.client.Refresh(ctx, tokens); err != nil {
			return err
		}
		p.result("refreshed", "rotated", fmt.Sprint(tokens.RefreshToken != before), "access token until", tokens.Expiry.Format(time.TimeOnly))
	}
	p.step("Revocation request", "Tokens that are not needed any more should not live on (RFC 7009).")
	if err := s.client.Revoke(ctx, tokens); err != nil {
		return err
	}
	p.note("Done: nothing of this login works any more.")
	return nil
}
