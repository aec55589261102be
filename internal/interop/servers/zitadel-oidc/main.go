// An OpenID provider on github.com/zitadel/oidc/v3: that library's example server, with our registrations on top of
// its in-memory storage. It announces no `iss`, its ID token from a refresh has no nonce, and its `aud` is an array.
// Its access tokens live for five minutes; that cannot be configured.
//
// It listens on a free port of 127.0.0.1 and prints "READY <issuer>".
// Environment: CLIENTS (the file clients.json), REDIRECT_URIS and POST_LOGOUT_URIS (space separated),
// TRACE=1 (the warnings of the library on standard error).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/text/language"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// client is a web client of the example with our authentication method and post-logout URIs.
type client struct {
	*storage.Client
	method     oidc.AuthMethod
	postLogout []string
}

func (c client) AuthMethod() oidc.AuthMethod      { return c.method }
func (c client) PostLogoutRedirectURIs() []string { return c.postLogout }
func (c client) IsScopeAllowed(string) bool       { return true }
func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}
}

type users map[string]*storage.User

func (u users) GetUserByID(id string) *storage.User { return u[id] }
func (u users) ExampleClientID() string             { return storage.ServiceUserID }
func (u users) GetUserByUsername(name string) *storage.User {
	for _, x := range u {
		if x.Username == name {
			return x
		}
	}
	return nil
}

// store puts our clients over the example's storage.
type store struct {
	*storage.Storage
	clients map[string]client
}

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if c, ok := s.clients[id]; ok {
		return c, nil
	}
	return nil, errors.New("client not found")
}

func main() {
	log.SetFlags(0)
	var reg struct {
		User, Password string
		Clients        []struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
			Method string `json:"token_endpoint_auth_method"`
		}
	}
	b, err := os.ReadFile(os.Getenv("CLIENTS"))
	if err == nil {
		err = json.Unmarshal(b, &reg)
	}
	if err != nil {
		log.Fatal(err)
	}

	s := &store{clients: map[string]client{}}
	for _, c := range reg.Clients {
		web := storage.WebClient(c.ID, c.Secret, strings.Fields(os.Getenv("REDIRECT_URIS"))...)
		storage.RegisterClients(web)
		s.clients[c.ID] = client{web, oidc.AuthMethod(c.Method), strings.Fields(os.Getenv("POST_LOGOUT_URIS"))}
	}
	s.Storage = storage.NewStorage(users{"alice": {
		ID: "alice", Username: reg.User, Password: reg.Password, FirstName: "Alice", LastName: "Example",
		Email: reg.User, EmailVerified: true, PreferredLanguage: language.English,
	}})

	trace := io.Discard
	if os.Getenv("TRACE") != "" {
		trace = os.Stderr
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + listener.Addr().String()
	handler := exampleop.SetupServer(issuer, s, slog.New(slog.NewTextHandler(trace, &slog.HandlerOptions{Level: slog.LevelWarn})), false)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
		<-stop
		srv.Close()
	}()
	fmt.Println("READY", issuer)
	if err := srv.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
