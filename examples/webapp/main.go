// Webapp is a web application with a login, in the few lines that an
// application needs. It is configured by environment variables (environment.go);
// with none set it starts an authorization server of its own and logs in there:
//
//	go run ./examples/webapp
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// routes is the part to copy: from a configuration to an application with a login.
func routes(cfg client.Config, keys [][]byte, resource string) (http.Handler, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	s, err := session.New(session.Config{Keys: keys, OnEvent: cfg.OnEvent})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(s, c)
	if err != nil {
		return nil, err
	}
	app := &pages{auth: auth, client: c, resource: resource}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", app.home)
	mux.Handle("GET /me", auth.RequireLogin(http.HandlerFunc(app.me)))
	mux.Handle("GET /api/resource", auth.RequireToken(http.HandlerFunc(app.callAPI)))
	mux.Handle("POST /refresh", auth.RequireLogin(http.HandlerFunc(app.refresh)))
	return auth.Handler(mux), nil
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
	handler, err := routes(env.client, env.keys, env.resource)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		server.Shutdown(drain)
	}()
	fmt.Printf("listening on http://%s\nopen %s\n", env.listener.Addr().(*net.TCPAddr), env.home)
	if err := server.Serve(env.listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}
