package main

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// embed starts an authorization server in this process and registers the
// application there, so that the example needs nothing from outside. Its access
// tokens live two minutes, so that a refresh can be watched.
func (env *environment) embed() {
	cfg := &env.client
	if cfg.ClientID == "" {
		cfg.ClientID = "sallyport-webapp"
	}
	secret := rand.Text()
	if strings.HasPrefix(cfg.RedirectURI, "http://") && cfg.PostLogoutRedirectURI == "" {
		cfg.PostLogoutRedirectURI = env.home + "auth/logout/callback"
	}
	registration := authtest.Client{ID: cfg.ClientID, Secret: secret, RedirectURIs: []string{cfg.RedirectURI}}
	if strings.HasPrefix(cfg.RedirectURI, "http://") { // behind https it is a proxy's certificate that this server would have to know
		registration.BackchannelLogoutURI = env.home + "auth/backchannel-logout"
	}
	if cfg.PostLogoutRedirectURI != "" {
		registration.PostLogoutRedirectURIs = []string{cfg.PostLogoutRedirectURI}
	}
	server := authtest.NewServer(authtest.Config{
		Interactive: true, AccessTokenLifetime: 2 * time.Minute, Clients: []authtest.Client{registration},
	})
	cfg.Issuer = server.Issuer()
	cfg.Authentication = client.SecretBasic(client.Secret(secret))
	env.closers = append(env.closers, server.Close)
}
