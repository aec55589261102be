//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
	"github.com/sallyport/sallyport/session/pgstore"
	"github.com/sallyport/sallyport/session/redisstore"
)

const (
	// origin is where browsers see the application, as if behind a proxy that ends TLS.
	origin   = "https://app.example"
	callback = origin + "/auth/callback"

	clientID     = "app"
	clientSecret = "a secret for this run only"
)

// registration is the application at the authorization server.
func registration() authtest.Client {
	return authtest.Client{ID: clientID, Secret: clientSecret, RedirectURIs: []string{callback}}
}

// application is one process's part of an application that uses all of the module.
type application struct {
	client   *client.Client
	sessions *session.Manager
	auth     *middleware.Auth
	close    func()
}

func (a *assignment) application(transport http.RoundTripper, onEvent func(context.Context, client.Event)) (*application, error) {
	app := &application{close: func() {}}
	cfg := session.Config{Keys: a.Keys, Origin: origin, OnEvent: onEvent}
	store, closeStore, err := openStore(a.Store)
	if err != nil {
		return nil, err
	}
	if closeStore != nil {
		app.close = closeStore
	}
	switch {
	case !a.Cookie && store == nil:
		cfg.Store = session.NewMemory(session.MemoryOptions{})
	case !a.Cookie:
		cfg.Store, cfg.Replicas = store, true
	case store != nil:
		cfg.Coordination, cfg.Replicas = store, true
	}
	app.client, err = client.New(client.Config{
		Issuer: a.Issuer, ClientID: clientID, Authentication: client.SecretBasic(client.Secret(clientSecret)), RedirectURI: callback,
		Scopes: []string{"openid", "offline_access"}, NoConsentPrompt: true, Rotation: client.Rotation{Grace: a.Grace}, Transport: transport,
		IDTokenAlgorithms: []string{"ES256"},
	})
	if err != nil {
		return nil, err
	}
	if app.sessions, err = session.New(cfg); err != nil {
		return nil, err
	}
	if app.auth, err = middleware.New(app.sessions, app.client); err != nil {
		return nil, err
	}
	return app, nil
}

// openStore opens what a URL names; nil for none.
func openStore(url string) (store session.Store, closeStore func(), err error) {
	switch scheme, _, _ := strings.Cut(url, ":"); scheme {
	case "":
		return nil, nil, nil
	case "postgres", "postgresql":
		s, err := pgstore.Open(context.Background(), url)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	default:
		redis.SetLogger(silent{}) // that a server is away is no news here
		s, err := redisstore.Open(url)
		if err != nil {
			return nil, nil, err
		}
		return s, func() { _ = s.Close() }, nil
	}
}

// silent is no logger.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// migrate makes the table where there is to be one.
func migrate(ctx context.Context, url string) error {
	store, closeStore, err := openStore(url)
	if err != nil || store == nil {
		return err
	}
	defer closeStore()
	if s, ok := store.(*pgstore.Store); ok {
		return s.Migrate(ctx)
	}
	return nil
}

// logIn is a login without a browser's part: it returns what a callback would have.
func (app *application) logIn(ctx context.Context, subject string) (*client.Tokens, error) {
	req, err := app.client.AuthorizationRequest(ctx, client.AuthorizationOptions{LoginHint: subject})
	if err != nil {
		return nil, err
	}
	back, err := redirected(ctx, req.URL())
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, back, nil)
	if err != nil {
		return nil, err
	}
	resp, err := app.client.AuthorizationResponse(r)
	if err != nil {
		return nil, err
	}
	if err := app.client.CheckResponse(req, resp); err != nil {
		return nil, err
	}
	return app.client.Exchange(ctx, req, resp)
}

// redirected opens a page and returns where it sends the browser.
func redirected(ctx context.Context, target string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "" {
		return to, nil
	}
	return "", errors.New("chaos: the authorization server sends the browser nowhere")
}

// discard is a ResponseWriter that keeps only the header and the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// freeAddress returns an address of this machine where nothing listens. It is below the range from which systems take the ports of
// outgoing connections, so it stays free while its process is dead.
func freeAddress() (addr string, err error) {
	for range 100 {
		var l net.Listener
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

// sleep returns false when ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
