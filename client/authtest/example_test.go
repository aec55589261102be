package authtest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client/authtest"
)

// A login from one end to the other, with golang.org/x/oauth2 as the client.
func Example() {
	as := authtest.NewServer(authtest.Config{})
	defer as.Close()
	if err := as.Register(authtest.Client{
		ID: "app", Secret: "s3cret", RedirectURIs: []string{"https://app.example/callback"},
	}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	client := oauth2.Config{
		ClientID: "app", ClientSecret: "s3cret", RedirectURL: "https://app.example/callback", Scopes: []string{"openid", "email"},
		Endpoint: oauth2.Endpoint{AuthURL: as.Issuer() + "/authorize", TokenURL: as.Issuer() + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	verifier := oauth2.GenerateVerifier()
	answer, err := as.Authorize(ctx, client.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		log.Fatal(err)
	}
	token, err := client.Exchange(ctx, answer.Params.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.TokenType, as.Active(token.AccessToken), as.Requests(authtest.Token))
	// Output: Bearer true 1
}

// The answer to a refresh is lost after the token was rotated; the client that
// tries again with the old one loses everything.
func ExampleServer_Misbehave() {
	as, err := authtest.New(authtest.Config{
		Issuer:  "https://as.example",
		Clients: []authtest.Client{{ID: "app", RedirectURIs: []string{"https://app.example/callback"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: as.Transport()}
	verifier := oauth2.GenerateVerifier()
	answer, err := as.Authorize(context.Background(), "https://as.example/authorize?"+url.Values{
		"client_id": {"app"}, "redirect_uri": {"https://app.example/callback"}, "response_type": {"code"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client)
	cfg := oauth2.Config{ClientID: "app", RedirectURL: "https://app.example/callback", Endpoint: oauth2.Endpoint{
		TokenURL: "https://as.example/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	token, err := cfg.Exchange(ctx, answer.Params.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		log.Fatal(err)
	}

	as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Wire: authtest.DropAfter})
	for range 2 {
		_, err = cfg.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		fmt.Println(err != nil, as.Active(token.AccessToken))
	}
	// Output:
	// true true
	// true false
}
