// Webapp is a web application with a login, in the few lines that an
// application needs. With no configuration it starts an authorization server of
// its own and logs in there:
//
//	go run ./examples/webapp
//
// Environment variables change that: LISTEN, OAUTH_ISSUER, OAUTH_CLIENT_ID,
// OAUTH_CLIENT_SECRET, OAUTH_CLIENT_AUTH (client_secret_basic or
// client_secret_post), OAUTH_REDIRECT_URI, OAUTH_POST_LOGOUT_REDIRECT_URI,
// OAUTH_SCOPES, OAUTH_CA (PEM file of roots), SESSION_KEYS (comma-separated
// base64url keys, newest first), SESSION_STORE (where sessions live: cookie,
// memory, redis://…, rediss://… or postgres://…), SESSION_COORDINATION (a Redis
// or PostgreSQL that replicas with sessions in cookies share), RESOURCE_URL
// (what GET /api/resource calls).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// routes is the part to copy: from a configuration to an application with a login.
func routes(cfg client.Config, sessions session.Config, resource string) (http.Handler, *session.Manager, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	s, err := session.New(sessions)
	if err != nil {
		return nil, nil, err
	}
	auth, err := middleware.Config{Transport: transport(cfg.RootCAs)}.New(s, c)
	if err != nil {
		return nil, nil, err
	}
	app := &pages{auth: auth, client: c, resource: resource}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", app.home)
	mux.Handle("GET /me", auth.RequireLogin(http.HandlerFunc(app.me)))
	mux.Handle("GET /api/resource", auth.RequireToken(http.HandlerFunc(app.callAPI)))
	mux.Handle("POST /refresh", auth.RequireLogin(http.HandlerFunc(app.refresh)))
	return auth.Handler(mux), s, nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env, err := readEnvironment(os.Getenv, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer env.close()
	handler, sessions, err := routes(env.client, env.session, env.resource)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\nopen %s\n", env.listener.Addr(), env.home)
	return serve(ctx, env.listener, handler, sessions.Shutdown)
}
