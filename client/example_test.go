package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

func ExampleNew() {
	c, err := client.New(client.Config{
		Issuer:         "https://login.example.com",
		ClientID:       "app",
		Authentication: client.SecretBasic(client.SecretFile("/run/secrets/oauth")),
		RedirectURI:    "https://app.example/auth/callback",
		Scopes:         []string{"openid", "profile", "offline_access"},
		OnEvent:        client.LogEvents(slog.Default()),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c)
	// Output: client app of https://login.example.com
}

// A mistake in the configuration is found without the network, and the error says how to mend it.
func ExampleNew_mistake() {
	_, err := client.New(client.Config{
		Issuer:         "https://login.example.com",
		ClientID:       "app",
		Authentication: client.SecretBasic(client.SecretFile("/run/secrets/oauth")),
		RedirectURI:    "http://app.example/auth/callback",
	})
	fmt.Println(err)
	// Output: sallyport: config (redirect_uri): RedirectURI is http: only https is accepted (http only for a loopback host in development)
}

// The whole flow without packages session and middleware, which do this for most applications.
func ExampleClient_Exchange() {
	ctx := context.Background()
	server := authtest.NewServer(authtest.Config{Clients: []authtest.Client{
		{ID: "app", Secret: "s3cret", RedirectURIs: []string{"https://app.example/auth/callback"}},
	}})
	defer server.Close()

	c, err := client.New(client.Config{
		Issuer:         server.Issuer(),
		ClientID:       "app",
		Authentication: client.SecretBasic(client.Secret("s3cret")),
		RedirectURI:    "https://app.example/auth/callback",
		Scopes:         []string{"openid", "profile"},
	})
	if err != nil {
		log.Fatal(err)
	}

	// At /auth/login: keep req where only this browser reaches it, and redirect to req.URL().
	req, err := c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
	if err != nil {
		log.Fatal(err)
	}

	// At /auth/callback: find req again by its state, make sure that it is used once, and exchange.
	callback := func(r *http.Request) (*client.Tokens, error) {
		resp, err := c.AuthorizationResponse(r)
		if err != nil {
			return nil, err
		}
		return c.Exchange(r.Context(), req, resp)
	}

	tokens, err := callback(browser(ctx, server, req.URL()))
	if err != nil {
		log.Fatal(err)
	}
	var claims struct {
		Name string `json:"name"`
	}
	if err := tokens.IDToken.Claims(&claims); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tokens.Subject, "is", claims.Name)

	// The same response with another state is somebody else's.
	forged := browser(ctx, server, req.URL())
	q := forged.URL.Query()
	q.Set("state", "forged")
	forged.URL.RawQuery = q.Encode()
	_, err = callback(forged)
	fmt.Println(errors.Is(err, client.ErrStateMismatch), err)

	// Output:
	// user-alice is Alice Adams
	// true sallyport: state_mismatch
}

// browser is the user's browser, which logs in and comes back.
func browser(ctx context.Context, server *authtest.Server, url string) *http.Request {
	answer, err := server.Authorize(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	r, err := answer.Request(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// What a caller makes of a failed refresh.
func ExampleClient_Refresh() {
	refresh := func(ctx context.Context, c *client.Client, tokens *client.Tokens) (*client.Tokens, error) {
		next, err := c.Refresh(ctx, tokens)
		var e *client.Error
		switch {
		case err == nil:
			return next, nil // store it before anybody uses it
		case errors.Is(err, client.ErrGrantRevoked):
			return nil, err // over: send the user through a new login
		case errors.As(err, &e) && e.Outcome == client.Transient && time.Now().Before(tokens.Expiry):
			return tokens, nil // the server is away; the access token still works
		default:
			return nil, err
		}
	}
	c, err := client.New(client.Config{
		Issuer: "https://login.example.com", ClientID: "app", Authentication: client.SecretPost(client.Secret("s3cret")),
		RedirectURI: "https://app.example/auth/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = refresh(context.Background(), c, &client.Tokens{AccessToken: "without a refresh token"})
	fmt.Println(err)
	// Output: sallyport: grant_revoked (no_refresh_token)
}
